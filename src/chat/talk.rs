//! What was said in a conversation.

#[cfg(feature = "train")]
use serde::{Deserialize, Serialize};

/// Who said something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "train", derive(Serialize, Deserialize), serde(rename_all = "lowercase"))]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// As templates call it.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "train", derive(Serialize, Deserialize))]
pub struct Said {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

impl Said {
    /// The person's.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// The model's.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// A system prompt and what was said since.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "train", derive(Serialize, Deserialize))]
pub struct Talk {
    /// The model it was with, for people.
    #[cfg_attr(feature = "train", serde(default))]
    pub model: String,
    /// The system prompt.
    #[cfg_attr(feature = "train", serde(default))]
    pub system: Option<String>,
    /// User and assistant in turn.
    pub messages: Vec<Said>,
}

impl Talk {
    /// Nothing said yet.
    pub fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
    }

    /// The user says something.
    pub fn user(&mut self, text: &str) {
        self.messages.push(Said::user(text));
    }

    /// The model says something.
    pub fn assistant(&mut self, text: &str) {
        self.messages.push(Said::assistant(text.trim()));
    }

    /// Puts another text in the place of the model's last answer.
    pub fn say_instead(&mut self, text: &str) {
        if let Some(said) = self.messages.last_mut().filter(|said| said.role == Role::Assistant) {
            said.content = text.to_owned();
        }
    }

    /// Forgets all messages.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// Drops the oldest turn: the user's message and the answer. False if only the newest message is left.
    pub fn drop_oldest(&mut self) -> bool {
        let next = self.messages.iter().skip(1).position(|m| m.role == Role::User);
        match next {
            Some(at) => {
                self.messages.drain(..=at);
                true
            }
            None => false,
        }
    }

    /// Answers that the next one should not repeat: all but those to the same question. Who asks again may get the same
    /// answer; "Go on" is no question.
    pub(super) fn answers_to_others(&self) -> impl Iterator<Item = &str> {
        let asked = self.messages.last().filter(|last| last.content.contains('?'));
        let again = move |question: Option<&Said>| {
            asked.zip(question).is_some_and(|(asked, before)| same(&asked.content, &before.content))
        };
        let before = |index: usize| index.checked_sub(1).and_then(|index| self.messages.get(index));
        let answers = self.messages.iter().enumerate().filter(|(_, said)| said.role == Role::Assistant);
        answers.filter(move |(index, _)| !again(before(*index))).map(|(_, said)| said.content.as_str())
    }
}

/// Whether two messages ask the same, as far as letters go.
fn same(a: &str, b: &str) -> bool {
    let letters = |text: &str| {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<Vec<_>>()
    };
    letters(a) == letters(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_turns_go_first_and_the_newest_message_stays() {
        let mut talk = Talk::new(Some("be brief".into()));
        for turn in ["a", "b"] {
            talk.user(turn);
            talk.assistant(&turn.to_uppercase());
        }
        talk.user("c");
        assert!(talk.drop_oldest());
        assert_eq!(talk.messages[0].content, "b");
        assert!(talk.drop_oldest());
        assert_eq!(talk.messages.len(), 1);
        assert!(!talk.drop_oldest());
        assert_eq!((talk.messages[0].content.as_str(), talk.system.as_deref()), ("c", Some("be brief")));
    }

    #[test]
    fn only_a_question_is_asked_again() {
        let count = |messages: &[&str]| {
            let mut talk = Talk::default();
            for text in messages {
                talk.user(text);
                talk.assistant(&text.to_uppercase());
            }
            talk.messages.pop();
            talk.answers_to_others().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            count(&["Why, then?", "b", "why then?!"]),
            ["B"],
            "what was said to other messages counts"
        );
        assert_eq!(count(&["Go on", "go on"]), ["GO ON"]);
        assert_eq!(count(&["Why?", "How?"]), ["WHY?"]);
        assert!(count(&["Why?"]).is_empty() && Talk::default().answers_to_others().next().is_none());
    }
}
