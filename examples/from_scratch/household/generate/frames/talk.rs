//! Sums, clocks and small talk, whose answer is a text.

use super::Kind;

pub const KINDS: &[Kind] = &[
    Kind {
        name: "plus",
        sft: &[
            "what is {a} plus {b}",
            "!add {a} and {b}",
            "how much is {a} plus {b}",
            "{a} + {b}",
            "{a} and {b} makes what",
        ],
        rl: &[
            "!tell me the sum of {a} and {b}",
            "what do {a} and {b} make",
            "{a} plus {b} is what",
            "i have {a} and get {b} more , how many is that",
            "what is {a} + {b}",
        ],
        more: &["!add {b} to {a}", "{a} and {b} more , what is it", "the sum of {a} and {b} please"],
        test: &[
            "what is the sum of {a} and {b}",
            "how much do {a} and {b} make",
            "!tell me what {a} plus {b} is",
            "!add {b} more to {a}",
        ],
    },
    Kind {
        name: "minus",
        sft: &[
            "what is {a} minus {b}",
            "!take {b} from {a}",
            "how much is {a} minus {b}",
            "{a} - {b}",
            "{a} less {b} makes what",
        ],
        rl: &[
            "!tell me the difference of {a} and {b}",
            "{a} minus {b} is what",
            "i have {a} and give {b} away , how many are left",
            "what is {a} - {b}",
            "what is left of {a} without {b}",
        ],
        more: &[
            "{a} less {b} is what",
            "what do {a} less {b} make",
            "{b} away from {a} is what",
            "the difference of {a} and {b} please",
        ],
        test: &[
            "what is the difference of {a} and {b}",
            "!tell me what {a} minus {b} is",
            "!take {b} away from {a}",
            "what is {a} less {b}",
        ],
    },
    Kind {
        name: "times",
        sft: &["what is {a} times {b}", "how much is {a} times {b}", "{a} x {b}", "!multiply {a} by {b}"],
        rl: &[
            "!tell me the product of {a} and {b}",
            "{a} times {b} is what",
            "what is {a} x {b}",
            "{a} boxes with {b} eggs each , how many eggs",
            "{b} eggs in each of {a} bags , how many eggs",
        ],
        more: &[
            "the product of {a} and {b} please",
            "{a} bags , {b} pears in each , how many pears",
            "what do {a} times {b} make",
        ],
        test: &[
            "what is the product of {a} and {b}",
            "!tell me what {a} times {b} is",
            "{a} bags with {b} apples each , how many apples",
        ],
    },
    Kind {
        name: "clock",
        sft: &[
            "what is {spoken} in digits",
            "how do i write {spoken} in digits",
            "!write {spoken} in digits",
            "{spoken} as a clock shows it",
        ],
        rl: &[
            "how does a clock show {spoken}",
            "{spoken} in digits please",
            "!show {spoken} as digits",
            "what does a clock show at {spoken}",
        ],
        more: &["how do {spoken} look in digits"],
        test: &[
            "!tell me {spoken} in digits",
            "how is {spoken} written in digits",
            "how does {spoken} look on a clock",
        ],
    },
    Kind {
        name: "hello",
        sft: &["hello", "hi", "good morning", "hello there"],
        rl: &["hey", "good evening", "hi you"],
        more: &["good afternoon"],
        test: &["hi there", "good day", "hello you"],
    },
    Kind {
        name: "who",
        sft: &["who are you", "what are you", "what is your name"],
        rl: &["!tell me who you are", "are you a (person|human)", "what are you called"],
        more: &[],
        test: &["!tell me your name", "who is it that i talk to", "!tell me what you are"],
    },
    Kind {
        name: "can",
        sft: &["what can you do", "how can you help me", "help"],
        rl: &["!tell me what you can do", "what do you do", "i need help"],
        more: &[],
        test: &["what is it that you can do", "what can you help me with", "!tell me how you help"],
    },
    Kind {
        name: "thanks",
        sft: &["thank you", "thanks", "thank you very much"],
        rl: &["thanks a lot", "many thanks", "that was nice of you"],
        more: &["thank you so much"],
        test: &["thank you a lot", "thanks very much", "many thanks to you"],
    },
    Kind {
        name: "bye",
        sft: &["goodbye", "bye", "good night", "see you"],
        rl: &["bye bye", "see you tomorrow", "i am going to bed"],
        more: &["see you in the evening"],
        test: &["see you in the morning", "goodbye and good night", "i am going , bye"],
    },
    Kind {
        name: "size",
        sft: &["how big are you", "are you always right", "are you clever"],
        rl: &["are you a big model", "do you make mistakes", "how clever are you"],
        more: &["are you a clever person"],
        test: &["are you a clever model", "are you big", "do you always get it right"],
    },
    Kind {
        name: "unknown",
        sft: &[
            "what is the weather in {place}",
            "who won the game",
            "how far is {place}",
            "!write a poem about {place}",
            "how do i get to {place}",
            "who is the king of {place}",
        ],
        rl: &[
            "will it rain in {place}",
            "!tell me about {place}",
            "how many people live in {place}",
            "who wrote this book",
            "what is the news from {place}",
            "when does the train to {place} leave",
        ],
        more: &[],
        test: &[
            "how is the weather in {place}",
            "how far is it to {place}",
            "does it rain in {place}",
            "what do you know about {place}",
        ],
    },
];
