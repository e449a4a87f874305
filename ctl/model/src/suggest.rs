//! "Did you mean": the known word that is nearest to a mistyped one.

/// The candidate that `word` was probably meant to be, if one is near enough.
///
/// Spelling conventions do not count as a difference, so `segmentId` finds `segment_id`.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let allowed = (folded.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> String {
    word.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Edits (insert, delete, replace a letter) between two words; words are field names, so quadratic is fine.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(WORD_LETTERS_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, left) in left.chars().take(WORD_LETTERS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Letters that are compared; a longer word is no field name.
const WORD_LETTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::nearest;

    const FIELDS: [&str; 4] = ["segment_id", "gateway_ip", "cidr", "dns"];

    #[test]
    fn typing_errors_and_other_conventions_find_the_field() {
        assert_eq!(nearest("segmentId", FIELDS), Some("segment_id"));
        assert_eq!(nearest("gatewayip", FIELDS), Some("gateway_ip"));
        assert_eq!(nearest("gatewy_ip", FIELDS), Some("gateway_ip"));
        assert_eq!(nearest("cird", FIELDS), None, "two edits of four letters are too many");
        assert_eq!(nearest("cidrs", FIELDS), Some("cidr"));
    }

    #[test]
    fn unrelated_words_find_nothing() {
        assert_eq!(nearest("colour", FIELDS), None);
        assert_eq!(nearest("", FIELDS), None);
        assert_eq!(nearest(&"x".repeat(10_000), FIELDS), None);
    }
}
