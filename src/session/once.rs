//! Answers of messages that are taken once only: which of two goes out is known when the batch is handed over (SND-6).

use std::ops::Range;

use super::state::Answer;
use crate::broker::dedup::DedupId;

/// What comes with a message that must not be taken twice.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    /// By what it is known.
    pub id: DedupId,
    /// The answer if it comes again.
    pub again: Answer<'a>,
}

/// An answer of a batch that may turn out to be another.
#[derive(Debug)]
struct Choice {
    /// The ids of its message: one for each destination.
    ids: Range<usize>,
    /// Where it stands among the answers of the batch.
    answer: Range<usize>,
    /// Where the other one stands.
    again: Range<usize>,
}

/// The answers of a batch that may turn out to be others.
#[derive(Debug, Default)]
pub(super) struct Twofold {
    choices: Vec<Choice>,
    again: Vec<u8>,
}

impl Twofold {
    /// Notes that the answer at `answer` is to be `again` if all of `ids` come again.
    pub(super) fn note(&mut self, ids: Range<usize>, answer: Range<usize>, again: Answer<'_>) {
        if answer.is_empty() {
            return;
        }
        let from = self.again.len();
        self.again.extend_from_slice(again);
        self.choices.push(Choice {
            ids,
            answer,
            again: from..self.again.len(),
        });
    }

    /// Puts the right ones into `answers`; `again` tells it of each id.
    pub(super) fn settle(&mut self, again: &[bool], answers: &mut Vec<u8>) {
        if self.choices.is_empty() {
            return;
        }
        let (mut settled, mut from) = (Vec::with_capacity(answers.len()), 0);
        for choice in self.choices.drain(..) {
            let mut known = again.get(choice.ids).unwrap_or_default().iter();
            // A message without a destination left is none that came again.
            if known.len() > 0 && known.all(|again| *again) {
                settled.extend_from_slice(&answers[from..choice.answer.start]);
                settled.extend_from_slice(&self.again[choice.again]);
                from = choice.answer.end;
            }
        }
        self.again.clear();
        if from > 0 {
            settled.extend_from_slice(&answers[from..]);
            *answers = settled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_another_if_its_message_came_again_everywhere() {
        let settled = |again: &[bool]| {
            let mut twofold = Twofold::default();
            let mut answers = b"plain one two three".to_vec();
            twofold.note(0..1, 6..9, b"ONE ");
            twofold.note(1..1, 0..0, b"no answer is asked for");
            twofold.note(1..3, 10..13, b"");
            twofold.note(3..4, 14..19, b"THREE!");
            twofold.settle(again, &mut answers);
            String::from_utf8(answers).unwrap()
        };
        assert_eq!(settled(&[false; 4]), "plain one two three");
        assert_eq!(settled(&[true, true, false, true]), "plain ONE  two THREE!");
        assert_eq!(settled(&[false, true, true, false]), "plain one  three");
        assert_eq!(settled(&[]), "plain one two three");
    }
}
