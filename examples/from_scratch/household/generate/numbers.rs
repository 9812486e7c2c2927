//! Numbers and times of day in words.

use super::rng::Rng;

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number below 1000 in words: "forty two".
pub fn words(n: u32) -> String {
    match n {
        0..20 => SMALL[n as usize].to_owned(),
        20..100 if n.is_multiple_of(10) => TENS[n as usize / 10].to_owned(),
        20..100 => format!("{} {}", TENS[n as usize / 10], SMALL[n as usize % 10]),
        _ if n.is_multiple_of(100) => format!("{} hundred", words(n / 100)),
        _ => format!("{} hundred and {}", words(n / 100), words(n % 100)),
    }
}

/// A number in digits or in words.
pub fn said(n: u32, rng: &mut Rng) -> String {
    if rng.chance(50) { n.to_string() } else { words(n) }
}

/// A time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// From 0 to 23.
    pub hour: u32,
    /// From 0 to 59.
    pub minute: u32,
}

impl Time {
    /// From five in the morning to almost eleven at night, to five minutes.
    pub fn random(rng: &mut Rng) -> Self {
        // Full, half and quarter hours are what people say most.
        let minute = if rng.chance(65) { 15 * rng.range(0, 3) } else { 5 * rng.range(0, 11) };
        Self { hour: rng.range(5, 22), minute }
    }

    /// As a clock shows it: "07:30".
    pub fn digits(self) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }

    /// As somebody may say or write it.
    pub fn said(self, rng: &mut Rng) -> String {
        match rng.below(8) {
            0 => self.digits(),
            1 => format!("{}:{:02}", self.hour, self.minute),
            2 => self.with_half(),
            3 if self.minute >= 10 => format!("{} {}{}", self.hour12(), words(self.minute), self.part()),
            4 if self.hour == 12 && self.minute == 0 => "noon".to_owned(),
            _ => format!("{}{}", self.on_the_face(), self.part()),
        }
    }

    /// As a clock's hands show it: "half past seven", "ten to eight".
    pub fn on_the_face(self) -> String {
        let next = words((self.hour % 12) + 1);
        let this = self.hour12();
        match self.minute {
            0 => format!("{this} o'clock"),
            15 => format!("quarter past {this}"),
            30 => format!("half past {this}"),
            45 => format!("quarter to {next}"),
            minute if minute < 30 => format!("{} past {this}", words(minute)),
            minute => format!("{} to {next}", words(60 - minute)),
        }
    }

    fn hour12(self) -> String {
        words((self.hour + 11) % 12 + 1)
    }

    /// "7 am", "7:30 pm".
    fn with_half(self) -> String {
        let (hour, half) = ((self.hour + 11) % 12 + 1, if self.hour < 12 { "am" } else { "pm" });
        match self.minute {
            0 => format!("{hour} {half}"),
            minute => format!("{hour}:{minute:02} {half}"),
        }
    }

    /// What tells morning from evening; without it the morning is meant, and twelve is noon.
    pub fn part(self) -> &'static str {
        match self.hour {
            13..17 => " in the afternoon",
            17.. => " in the evening",
            _ => "",
        }
    }
}

/// A length of time in minutes as somebody may say it.
pub fn duration(minutes: u32, rng: &mut Rng) -> String {
    let words_too = rng.chance(60);
    match minutes {
        15 if words_too => "a quarter of an hour".to_owned(),
        30 if words_too => "half an hour".to_owned(),
        60 if words_too => rng.pick(&["an hour", "one hour"]).to_owned(),
        90 if words_too => "an hour and a half".to_owned(),
        120 if words_too => rng.pick(&["two hours", "2 hours"]).to_owned(),
        1 => rng.pick(&["a minute", "1 minute", "one minute"]).to_owned(),
        _ => format!("{} minutes", said(minutes, rng)),
    }
}
