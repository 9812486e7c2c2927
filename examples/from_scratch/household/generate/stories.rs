//! Short texts about a household, without actions.

use super::asked::capital;
use super::frame::fill;
use super::numbers::{Time, said};
use super::rng::Rng;
use super::words::{DOORS, MUSIC, NAMES, PACKING, PEOPLE, PLACES, ROOMS, SHOPPING, TASKS};

const BEGIN: &[&str] = &[
    "{A} and {B} live in a (small|big|old) house with a garden.",
    "It was a (cold|warm|rainy|quiet) (morning|evening) , and {A} was in the {room}.",
    "At {time} {A} came home by the {door}.",
    "{A} woke up at {time} because the alarm was ringing.",
    "{B} had asked {A} to {task}.",
    "On (Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday) {A} wanted to bake something in the kitchen.",
    "{A} was going to travel to {place} and had to pack.",
    "The house was dark , and only the lamp in the {room} was on.",
];
const MIDDLE: &[&str] = &[
    "It was too dark in the {room} , so {A} turned on the light.",
    "The {room} was too bright , so {B} switched the lamp off.",
    "The sun was shining into the {room} , and {A} closed the blinds.",
    "In the morning {B} pulled up the shutters in the {room}.",
    "It was cold in the {room} , so {A} set the heating to {n} degrees.",
    "{B} dimmed the light in the {room} to {tens} percent and listened to {music}.",
    "There was no {food} left , so {A} wrote {food} on the shopping list.",
    "{A} put {thing} into the bag and crossed it off the packing list.",
    "{B} set a timer for {n} minutes and waited until it was ringing.",
    "When the timer was over , {A} stopped it and looked into the oven.",
    "{A} wanted to be awake at {time} , so {A} set an alarm.",
    "{B} did not want to get up , and so {B} turned the alarm off.",
    "\"Do not forget to {task} ,\" {B} said at {time}.",
    "{A} called {who} and talked for {n} minutes.",
    "The music was too loud , so {B} turned the volume down.",
    "Somebody rang at the {door} , and {A} unlocked it.",
    "Before they went to bed , {B} locked the {door}.",
    "{A} had {n} {food} and gave some of them to {B}.",
    "The cat was sleeping in the {room} and did not want to be moved.",
    "{B} was looking for {thing} in the {room} , but it was in the {room}.",
    "\"I can not see anything in the {room} ,\" {A} said.",
    "\"I am in the mood for {music} ,\" {B} said , and they listened to it.",
    "They needed {food} , {food} and {food} from the shop.",
    "{A} was happy to {task} , because it was quiet.",
    "The clock in the {room} showed {digits} , which is {spoken}.",
];
const END: &[&str] = &[
    "Then it was time for bed.",
    "After that they had tea in the {room}.",
    "At {time} everything was done.",
    "\"Thank you ,\" said {B}. \"You are welcome ,\" said {A}.",
    "It was a fine day for {A} and {B} in the house.",
    "Nobody had to (hurry|wait) any more.",
    "And the light in the {room} was off at last.",
];

const ROOM: &[&str] = &[
    "The {room} has a lamp , blinds and a heating of its own.",
    "In the {room} it is {n} degrees warm.",
    "The lamp in the {room} can be on or off , and it can be dimmed from 10 to 100 percent.",
    "The blinds in the {room} are open by day and closed by night.",
    "{A} likes to sit in the {room} and to listen to {music}.",
    "There is {thing} in the {room}.",
    "From the {room} you come to the {door}.",
    "Nobody is in the {room} before {time}.",
    "The brightness of the lamp in the {room} is {tens} percent.",
    "The shutters of the {room} are raised with a button and lowered with another.",
];

const FACTS: &[&str] = &[
    "To switch a lamp on is to turn it on. To switch it off is to turn it off.",
    "The lounge is the living room. The study is the office. The loft is the attic.",
    "The basement is the cellar. The hallway is the hall. The bathroom is the bath.",
    "To raise the blinds is to pull them up , and then they are open. To lower the blinds is to let them down , and then they are \
     closed.",
    "Shutters and blinds keep the sun out of a room. When they are open , the sun comes in.",
    "A locked door keeps people out. Somebody who has a key can unlock it and come in.",
    "Who needs light has a dark room. Who needs no light has a bright room.",
    "The temperature of a room is how warm it is. It is set in degrees by the heating.",
    "The brightness of a lamp and the volume of music are given in percent. 100 percent is all of it.",
    "The volume is how loud the music is. When the volume is low , it is quiet.",
    "To cross something off a list is to remove it. To write it on a list is to add it.",
    "What we are out of , we have to buy. What there is enough of , we do not have to buy.",
    "An alarm rings when it is time to get up and to be awake. It gets you out of bed.",
    "A timer counts down the minutes and rings when they are over.",
    "A reminder is there so that you do not forget what you must do.",
    "To phone somebody is to call them. To give somebody a ring is to call them. Who is on the phone is on the line.",
    "Songs are music. To listen to music is to hear it. When it is played , it can be heard.",
    "What is removed from a list is no longer on it. To have it removed is to remove it.",
    "A timer that was stopped does not ring. Music that was stopped is not played any more.",
    "A lamp that was switched on is bright. To have it switched off is to switch it off.",
    "To cancel an alarm is to turn it off. To delete an alarm is to cancel it. What is no longer needed can go.",
    "To end something is to stop it. Who is done has come to the end.",
    "The sum is what two numbers make when one is added to the other. The difference is what is left.",
    "The product of two numbers is what they make when one is multiplied by the other.",
    "Half past seven is written 07:30 in digits. A clock shows 07:30 then. It will look like this : 07:30.",
    "Half an hour is 30 minutes. A quarter of an hour is 15 minutes. An hour is 60 minutes. An hour and a half is 90 minutes.",
    "A very small model makes mistakes. It does not always get things right. It is not clever , but it is quick.",
    "Ember is a very small model. It helps in the house. It does not know the weather , and it knows nothing of far places.",
];

struct Cast {
    a: &'static str,
    b: &'static str,
    room: &'static str,
    door: &'static str,
    time: Time,
}

impl Cast {
    fn draw(rng: &mut Rng) -> Self {
        let (a, b) = (rng.pick(NAMES), rng.pick(NAMES));
        let b = if a == b { "the neighbour" } else { b };
        let (rooms, doors) = (*rng.one(&ROOMS), *rng.one(&DOORS));
        let (room, door) = (rng.pick(rooms), rng.pick(doors));
        Self { a, b, room, door, time: Time::random(rng) }
    }

    fn sentence(&self, frame: &str, rng: &mut Rng) -> String {
        let text = fill(frame, rng, &mut |slot, rng| match slot {
            "A" => self.a.to_owned(),
            "B" => self.b.to_owned(),
            // Most sentences of a text are about one room.
            "room" if rng.chance(70) => self.room.to_owned(),
            "room" => rng.one(&ROOMS)[0].to_owned(),
            "door" => self.door.to_owned(),
            "task" => rng.pick(TASKS).to_owned(),
            "food" => rng.pick(SHOPPING).to_owned(),
            "thing" => rng.pick(PACKING).to_owned(),
            "music" => rng.pick(MUSIC).to_owned(),
            "who" => rng.one(&PEOPLE)[0].to_owned(),
            "place" => rng.pick(PLACES).to_owned(),
            "n" => said(rng.range(2, 25), rng),
            "tens" => said(10 * rng.range(1, 10), rng),
            "digits" => self.time.digits(),
            "spoken" => format!("{}{}", self.time.on_the_face(), self.time.part()),
            "time" => Time::random(rng).said(rng),
            other => other.to_owned(),
        });
        capital(&text.replace(" ,", ",").replace(" :", ":"))
    }
}

fn joined(cast: &Cast, frames: &[&str], rng: &mut Rng) -> String {
    frames.iter().map(|frame| cast.sentence(frame, rng)).collect::<Vec<_>>().join(" ")
}

/// A few sentences about two people in a house.
pub fn story(rng: &mut Rng) -> String {
    let cast = Cast::draw(rng);
    let mut frames = vec![rng.pick(BEGIN)];
    for _ in 0..rng.range(2, 6) {
        frames.push(rng.pick(MIDDLE));
    }
    frames.push(rng.pick(END));
    joined(&cast, &frames, rng)
}

/// What a room is like.
pub fn room(rng: &mut Rng) -> String {
    let cast = Cast::draw(rng);
    let mut frames: Vec<&str> = ROOM.to_vec();
    rng.shuffle(&mut frames);
    frames.truncate(rng.range(3, 6) as usize);
    joined(&cast, &frames, rng)
}

/// What words mean.
pub fn facts(rng: &mut Rng) -> String {
    let cast = Cast::draw(rng);
    let mut frames: Vec<&str> = FACTS.to_vec();
    rng.shuffle(&mut frames);
    frames.truncate(rng.range(2, 4) as usize);
    joined(&cast, &frames, rng)
}

/// A list with a heading.
pub fn list(rng: &mut Rng) -> String {
    let (heading, items) = *rng.one(&[
        ("Shopping list", SHOPPING),
        ("Packing list", PACKING),
        ("To do", TASKS),
        ("Music for tonight", MUSIC),
    ]);
    let mut items = items.to_vec();
    rng.shuffle(&mut items);
    items.truncate(rng.range(3, 8) as usize);
    let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
    format!("{heading}:\n{}", lines.join("\n"))
}
