//! What a line in a chat is: a message, or a command to the program.

/// A line of the user's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// For the model.
    Message(&'a str),
    /// For the program, without its slash.
    Command(&'a str),
}

/// A slash and a plain word begin a command. Paths do not, nor what has a second slash or a space before the slash, both of
/// which are left out of the message.
pub(super) fn meant(text: &str) -> Line<'_> {
    let Some(rest) = text.strip_prefix('/') else {
        let bare = text.trim_start();
        return Line::Message(if bare.starts_with('/') { bare } else { text });
    };
    if rest.starts_with('/') {
        return Line::Message(rest);
    }
    let name = rest.split_whitespace().next().filter(|_| !rest.starts_with(char::is_whitespace));
    let plain =
        |name: &str| name == "?" || name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if name.is_some_and(plain) { Line::Command(rest.trim_end()) } else { Line::Message(text) }
}

/// What is said of a command that is not there.
pub(super) fn unknown(name: &str) -> String {
    format!(
        "there is no /{name}; /help lists what there is. //{name}, or a space before it, sends it to the model"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_behind_a_slash_are_commands() {
        for (text, is) in [
            ("/help", Line::Command("help")),
            ("/?", Line::Command("?")),
            ("/save a/b.json ", Line::Command("save a/b.json")),
            ("/foo bar", Line::Command("foo bar")),
            ("/usr/bin/env is what?", Line::Message("/usr/bin/env is what?")),
            ("/etc/", Line::Message("/etc/")),
            ("/.bashrc", Line::Message("/.bashrc")),
            ("/", Line::Message("/")),
            ("/ 2", Line::Message("/ 2")),
            ("/* a comment */", Line::Message("/* a comment */")),
            ("//help", Line::Message("/help")),
            (" /help", Line::Message("/help")),
            (" plain ", Line::Message(" plain ")),
            ("what is /help?", Line::Message("what is /help?")),
        ] {
            assert_eq!(meant(text), is, "{text}");
        }
    }
}
