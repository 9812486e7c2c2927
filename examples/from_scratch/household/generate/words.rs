//! What is in the house. A value has its name in actions first, and other names that people have for it.

/// Rooms.
pub const ROOMS: [&[&str]; 12] = [
    &["kitchen"],
    &["living room", "lounge"],
    &["bedroom"],
    &["bath", "bathroom"],
    &["office", "study"],
    &["hall", "hallway"],
    &["nursery"],
    &["garage"],
    &["attic", "loft"],
    &["cellar", "basement"],
    &["dining room"],
    &["guest room"],
];

/// Doors.
pub const DOORS: [&[&str]; 8] = [
    &["front door", "house door"],
    &["back door"],
    &["garage door"],
    &["cellar door", "basement door"],
    &["garden gate", "gate"],
    &["balcony door"],
    &["terrace door"],
    &["side door"],
];

/// What may be on a shopping list.
pub const SHOPPING: &[&str] = &[
    "milk",
    "bread",
    "butter",
    "eggs",
    "cheese",
    "flour",
    "sugar",
    "salt",
    "rice",
    "pasta",
    "apples",
    "pears",
    "bananas",
    "oranges",
    "lemons",
    "cherries",
    "tomatoes",
    "potatoes",
    "carrots",
    "onions",
    "garlic",
    "peas",
    "beans",
    "mushrooms",
    "honey",
    "jam",
    "tea",
    "coffee",
    "juice",
    "water",
    "yoghurt",
    "cream",
    "oil",
    "nuts",
    "oats",
    "biscuits",
    "chocolate",
    "fish",
    "soap",
    "candles",
    "batteries",
    "cat food",
    "light bulbs",
];

/// What may be on a packing list.
pub const PACKING: &[&str] = &[
    "socks",
    "shirts",
    "boots",
    "a jumper",
    "a raincoat",
    "a hat",
    "a scarf",
    "a torch",
    "a map",
    "the tent",
    "a towel",
    "the camera",
    "a book",
    "the tickets",
    "a blanket",
    "the charger",
];

/// What may be on a list of things to do, and what somebody may be reminded of.
pub const TASKS: &[&str] = &[
    "water the plants",
    "take out the bins",
    "feed the cat",
    "walk the dog",
    "wash the car",
    "clean the windows",
    "sweep the floor",
    "fold the laundry",
    "iron the shirts",
    "mow the lawn",
    "pay the rent",
    "post the letter",
    "return the books",
    "bake a cake",
    "make the beds",
    "clean the oven",
    "fix the bike",
    "book the train",
    "buy a present",
    "pick up the parcel",
    "charge the phone",
    "set the table",
    "cook the rice",
    "paint the fence",
];

/// Lists.
pub const LISTS: [&[&str]; 3] = [&["shopping"], &["todo", "to do"], &["packing"]];

/// What may be played.
pub const MUSIC: &[&str] = &[
    "jazz",
    "rock",
    "pop",
    "blues",
    "folk songs",
    "piano music",
    "guitar music",
    "the radio",
    "the news",
    "dance music",
    "opera",
    "choir music",
    "whale songs",
    "rain sounds",
    "a waltz",
    "a tango",
    "harp music",
    "soul",
    "swing",
    "film music",
];

/// People who may be called.
pub const PEOPLE: [&[&str]; 16] = [
    &["mum", "mother"],
    &["dad", "father"],
    &["grandma", "granny"],
    &["grandpa"],
    &["aunt rosa"],
    &["uncle tom"],
    &["the doctor"],
    &["the dentist"],
    &["the plumber"],
    &["the school"],
    &["the neighbours", "next door"],
    &["anna"],
    &["ben"],
    &["clara"],
    &["david"],
    &["emma"],
];

/// People in stories.
pub const NAMES: &[&str] = &[
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas", "Karla", "Leo", "Mia",
    "Noah", "Olga", "Paul", "Rosa", "Sam", "Tom", "Vera",
];

/// Places that the house knows nothing of.
pub const PLACES: &[&str] = &[
    "paris",
    "london",
    "rome",
    "oslo",
    "vienna",
    "berlin",
    "madrid",
    "the moon",
    "norway",
    "spain",
    "the north sea",
    "africa",
    "the old town",
    "iceland",
    "the next village",
    "lisbon",
];
