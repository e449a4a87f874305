//! Reading JSON values for tables, and numbers as people read them.

use std::time::Duration;

use serde_json::Value;

/// The text at a JSON pointer: scalars as they are, lists joined by commas, nothing for what is not there.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(scalar).unwrap_or_default()
}

/// A value as one cell.
pub(crate) fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}={}", scalar(value))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// The list at a JSON pointer, empty for what is not there.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The name of an object: its name, its address for what has none, its id else.
pub(crate) fn name(object: &Value) -> String {
    ["/name", "/floating_ip", "/ip", "/id"]
        .into_iter()
        .map(|pointer| text(object, pointer))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// A count with at most four digits: `9999`, `12.3k`, `4.56M`.
pub(crate) fn count(number: u64) -> String {
    const SCALES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    if number < 10_000 {
        return number.to_string();
    }
    scaled(number as f64, &SCALES)
}

/// A number of bytes: `1023 B`, `1.50 KiB`, `12.0 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    const SCALES: [(f64, &str); 4] =
        [(1_099_511_627_776.0, " TiB"), (1_073_741_824.0, " GiB"), (1_048_576.0, " MiB"), (1024.0, " KiB")];
    if number < 1024 {
        return format!("{number} B");
    }
    scaled(number as f64, &SCALES)
}

fn scaled(number: f64, scales: &[(f64, &str)]) -> String {
    let (scale, unit) = scales.iter().find(|(scale, _)| number >= *scale).copied().unwrap_or((1.0, ""));
    let value = number / scale;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{unit}")
}

/// Seconds since something: `0.3s`, `42s`, `5m12s`, `3h20m`, `4d7h`.
pub(crate) fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m{}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{}h", whole / 86400, whole / 3600 % 24),
    }
}

/// Time since a timestamp of the API, empty where it is none.
pub(crate) fn age_since(timestamp: &str) -> String {
    let Ok(then) = timestamp.parse::<jiff::Timestamp>() else { return String::new() };
    let seconds = jiff::Timestamp::now().duration_since(then).as_secs_f64();
    age(seconds.max(0.0).floor())
}

/// What texts are ordered by: numbers and addresses by their worth, the rest by their letters; what is empty comes last.
pub(crate) fn sort_key(text: &str) -> (u8, u64, String) {
    let plain = || text.to_owned();
    if text.is_empty() {
        return (3, 0, plain());
    }
    if let Ok(number) = text.parse::<u64>() {
        return (0, number, String::new());
    }
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    match address.parse::<std::net::Ipv4Addr>() {
        Ok(address) => (1, u64::from(address.to_bits()), plain()),
        Err(_) => (2, 0, plain()),
    }
}

/// A share in percent, nothing of nothing being nothing.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { String::new() } else { format!("{:.1}%", part as f64 * 100.0 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{age, bytes, count, name, percent, sort_key, text};

    #[test]
    fn numbers_are_short() {
        for (number, expected) in
            [(0, "0"), (9999, "9999"), (12_345, "12.3k"), (456_789, "457k"), (4_560_000, "4.56M")]
        {
            assert_eq!(count(number), expected);
        }
        for (number, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (12 << 30, "12.0 GiB"), (1 << 40, "1.00 TiB")]
        {
            assert_eq!(bytes(number), expected);
        }
        for (seconds, expected) in
            [(0.31, "0.3s"), (42.9, "42s"), (312.0, "5m12s"), (12_000.0, "3h20m"), (370_800.0, "4d7h")]
        {
            assert_eq!(age(seconds), expected);
        }
        assert_eq!(percent(999, 1000), "99.9%");
        assert_eq!(percent(0, 0), "");
    }

    #[test]
    fn numbers_and_addresses_are_ordered_by_their_worth() {
        let mut texts = ["web-2", "", "10.0.0.10", "9", "10.0.0.9/24", "10", "web-1"];
        texts.sort_by_key(|text| sort_key(text));
        assert_eq!(texts, ["9", "10", "10.0.0.9/24", "10.0.0.10", "web-1", "web-2", ""]);
    }

    #[test]
    fn cells_are_plain_text() {
        let object =
            json!({"id": "1", "name": "", "list": ["a", "b"], "yes": true, "deep": {"a": 1, "b": null}});
        assert_eq!(text(&object, "/list"), "a,b");
        assert_eq!(text(&object, "/yes"), "yes");
        assert_eq!(text(&object, "/deep"), "a=1 b=");
        assert_eq!(text(&object, "/none/at/all"), "");
        assert_eq!(name(&object), "1");
    }
}
