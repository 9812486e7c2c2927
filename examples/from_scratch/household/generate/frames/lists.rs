//! Lists and calls.

use super::Kind;

pub const KINDS: &[Kind] = &[
    Kind {
        name: "list add",
        sft: &[
            "!add {item} to the {list} list",
            "!put {item} on the {list} list",
            "!put {item} on my {list} list",
            "{list} list : {item}",
            "@shopping we need {item}",
            "@shopping we are out of {item}",
            "@packing i want to take {item} with me",
        ],
        rl: &[
            "!write {item} on the {list} list",
            "{item} should be on the {list} list",
            "{item} on the {list} list please",
            "on the {list} list , put {item}",
            "@shopping there is no {item} left",
            "@shopping i want to buy {item}",
            "@packing !pack {item}",
            "@todo it is my job to {item}",
        ],
        more: &[
            "@shopping i have no {item} left",
            "@shopping i need to buy {item}",
            "{item} is for the {list} list",
            "the {list} list should have {item}",
        ],
        test: &[
            "the {list} list needs {item}",
            "!have {item} on the {list} list",
            "{item} , that is for the {list} list",
            "@shopping i am out of {item}",
            "@shopping we have to buy {item}",
            "@packing we want to pack {item}",
        ],
    },
    Kind {
        name: "list remove",
        sft: &[
            "!remove {item} from the {list} list",
            "!take {item} off the {list} list",
            "!delete {item} from my {list} list",
            "{list} list without {item}",
            "@shopping we have {item} already",
            "@packing i do not want to take {item} with me",
        ],
        rl: &[
            "!cross {item} off the {list} list",
            "{item} should not be on the {list} list",
            "from the {list} list , remove {item}",
            "!cross out {item} on the {list} list",
            "@shopping there is enough {item} left",
            "@shopping i do not want to buy {item}",
            "@packing !do not pack {item}",
            "@todo it is no longer my job to {item}",
        ],
        more: &[
            "@shopping we have enough {item} here",
            "@shopping we do not need to buy {item}",
            "@shopping i do not have to get {item}",
            "the {list} list should not have {item}",
            "the {list} list is without {item}",
        ],
        test: &[
            "the {list} list does not need {item}",
            "!have {item} removed from the {list} list",
            "!cross {item} out from my {list} list",
            "@shopping i have enough {item}",
            "@shopping we do not have to buy {item}",
            "@packing we do not want to pack {item}",
        ],
    },
    Kind {
        name: "call",
        sft: &[
            "!call {who}",
            "!ring {who}",
            "i want to talk to {who}",
            "i need to call {who}",
            "!start a call to {who}",
        ],
        rl: &[
            "!phone {who}",
            "!get {who} on the phone",
            "i would like to speak to {who}",
            "i have to speak with {who}",
            "!give {who} a ring",
            "!let me talk to {who}",
        ],
        more: &["i want to get {who} on the line"],
        test: &[
            "i need to talk with {who}",
            "!get me {who} on the line",
            "i want {who} on the phone",
            "!give {who} a call",
            "!let me speak to {who}",
        ],
    },
];
