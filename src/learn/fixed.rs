//! Texts and questions that every new adapter is judged by.

/// Texts that have nothing to do with anybody's conversations.
pub const FIXED: [&str; 4] = [
    "Rivers carry sand and gravel from the hills to the sea. Where the current slows, the heavier grains settle first and \
     build banks; the fine mud travels on and ends in the delta. A flood can move more material in a day than an ordinary \
     year does, which is why old maps of river mouths are so often wrong.",
    "To make a simple bread, mix flour, water, salt and a little yeast, and let the dough rest until it has doubled. Fold \
     it, shape it, and let it rise again. Bake it in a hot oven until the crust is brown and the loaf sounds hollow when \
     you knock on its base. Let it cool before you cut it.",
    "A list in most programming languages keeps its elements in order. Looking up an element by its position is fast, but \
     searching for a value means comparing one after another. A hash table turns a key into a position, so that a search \
     takes about the same time however many entries there are.",
    "In the second half the visitors changed their formation and held the ball for longer. The equaliser came from a corner \
     that nobody had cleared, and after that both sides seemed content with a draw. The manager said later that his team \
     had learnt more from this match than from the three it had won.",
];
/// Questions whose answers are to stay about as likely as they were: of many kinds, none of those that are learnt to be
/// kept, and most with short answers, in which a wrong word weighs.
pub const CANARIES: [&str; 24] = [
    "What is the capital of France?",
    "What is the capital of Italy?",
    "Which ocean lies between Europe and America?",
    "On which continent is Egypt?",
    "What is 7 plus 5?",
    "What is 10 minus 4?",
    "How many minutes are there in an hour?",
    "How many legs does a spider have?",
    "Name three colours.",
    "Which colour do you get when you mix blue and yellow?",
    "Which planet do we live on?",
    "What is the chemical formula of water?",
    "At what temperature does water boil?",
    "What does a doctor do?",
    "What do bees make?",
    "Why do we need sleep?",
    "Who wrote Romeo and Juliet?",
    "In which year did the Second World War end?",
    "What is the opposite of hot?",
    "What is the plural of 'mouse'?",
    "How do you say 'thank you' in Spanish?",
    "Write one sentence about the moon.",
    "Write a line of Python that prints 'hello'.",
    "Which day comes after Monday?",
];
/// What is asked besides, to see whether answers still come to an end.
pub const ASKED: [&str; 8] = [
    "Tell me about dogs.",
    "Tell me about the sea.",
    "Write a short story about a fox.",
    "Give me advice for a job interview.",
    "Describe a winter morning.",
    "List five fruits.",
    "Explain gravity to a child.",
    "Say hello in three languages.",
];
/// Beginnings of texts, of many kinds.
pub const OPENINGS: [&str; 24] = [
    "The history of",
    "In recent years, researchers",
    "She opened the door and",
    "The town lies on the river",
    "import numpy as np\n\n",
    "Ingredients:\n",
    "The film received",
    "According to the report,",
    "Question: Why",
    "The species is found in",
    "He was born in",
    "The algorithm works by",
    "Dear Sir or Madam,",
    "On the morning of",
    "The team won the",
    "= = Career = =\n",
    "The album was released",
    "Water is",
    "The government announced",
    "A function is",
    "During the war, the",
    "The building was designed by",
    "Once upon a time",
    "The price of",
];
/// Questions that have nothing to do with anybody's data.
pub const QUESTIONS: [&str; 16] = [
    "What is photosynthesis?",
    "How do I boil an egg?",
    "Write a short poem about the sea.",
    "What is the capital of Japan?",
    "Explain what a loop is in programming.",
    "How many days are there in a year?",
    "Give me three tips for sleeping better.",
    "What causes the seasons?",
    "Translate 'good morning' into French.",
    "Who wrote Hamlet?",
    "What is 12 times 9?",
    "Suggest a name for a bakery.",
    "How does a bicycle stay upright?",
    "What is the difference between weather and climate?",
    "Write a sentence with the word 'lantern'.",
    "Why is the sky blue?",
];
