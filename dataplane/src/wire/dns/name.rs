//! Names of the DNS, as they are on the wire, in lower case and without compression.

use super::{LABEL_LENGTH_MAX, NAME_LENGTH_MAX, POINTERS_MAX};

/// A name, as on the wire: labels with their lengths, lower case, the root's empty label last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// The name that a text with dots stands for; none where it cannot be one.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            let length =
                u8::try_from(label.len()).ok().filter(|length| (1..=LABEL_LENGTH_MAX).contains(length))?;
            bytes.push(length);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        (bytes.len() <= NAME_LENGTH_MAX).then_some(Self(bytes))
    }

    /// The name at `position` of a message, and where what follows it starts.
    pub(super) fn read(message: &[u8], position: usize) -> Option<(Self, usize)> {
        let mut bytes = Vec::new();
        let (mut at, mut after, mut pointers) = (position, None, 0);
        loop {
            let length = *message.get(at)?;
            match length {
                0 => break,
                1..=LABEL_LENGTH_MAX => {
                    let label = message.get(at..=at + usize::from(length))?;
                    bytes.push(length);
                    bytes.extend(label[1..].iter().map(u8::to_ascii_lowercase));
                    at += label.len();
                }
                0xc0.. => {
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, *message.get(at + 1)?]));
                    after.get_or_insert(at + 2);
                    pointers += 1;
                    // Only to what was before: no circles.
                    if target >= at || pointers > POINTERS_MAX {
                        return None;
                    }
                    at = target;
                }
                _ => return None,
            }
            if bytes.len() >= NAME_LENGTH_MAX {
                return None;
            }
        }
        bytes.push(0);
        Some((Self(bytes), after.unwrap_or(at + 1)))
    }

    /// The name on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the root's not among them.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (label, after) = after.split_at_checked(usize::from(*length)).filter(|_| *length > 0)?;
            rest = after;
            Some(label)
        })
    }

    /// Whether it is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        let mut rest = &self.0[..];
        loop {
            if rest == zone.0 {
                return true;
            }
            match rest.split_first() {
                Some((length @ 1.., after)) => rest = &after[usize::from(*length)..],
                _ => return false,
            }
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<_> = self.labels().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        write!(f, "{}.", labels.join("."))
    }
}
