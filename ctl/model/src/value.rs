//! Readers of single values: text, numbers, addresses, names. Each says what it wanted and shows an example.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use crate::address::MacAddress;
use crate::reader::Refusal;

/// Letters that a name may have; it becomes a host name and part of interface names.
pub const NAME_LETTERS_MAX: usize = 63;
/// Letters that a description may have.
pub const DESCRIPTION_LETTERS_MAX: usize = 1024;
/// Letters that the name of a resource may have.
pub const RESOURCE_NAME_LETTERS_MAX: usize = 253;
/// Letters that a Linux interface name may have.
pub const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// What a JSON value is, for messages.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Any text.
pub fn text(value: &Value) -> Result<String, Refusal> {
    borrowed(value).map(str::to_owned)
}

/// A text of at most [`DESCRIPTION_LETTERS_MAX`] letters.
pub fn description(value: &Value) -> Result<String, Refusal> {
    let text = borrowed(value)?;
    let letters = text.chars().count();
    if letters > DESCRIPTION_LETTERS_MAX {
        let hint = format!("at most {DESCRIPTION_LETTERS_MAX} letters");
        return Err(Refusal::new(
            "too_long",
            format!("a description of {letters} letters is too long"),
            hint,
        ));
    }
    Ok(text.to_owned())
}

/// True or false.
pub fn boolean(value: &Value) -> Result<bool, Refusal> {
    value.as_bool().ok_or_else(|| {
        Refusal::new(
            "wrong_type",
            format!("a boolean is expected, not {}", type_name(value)),
            "write true or false",
        )
    })
}

/// A whole number within `minimum..=maximum`, as a number or as a text of digits.
pub fn integer(value: &Value, minimum: u64, maximum: u64) -> Result<u64, Refusal> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number {
        Some(number) if (minimum..=maximum).contains(&number) => Ok(number),
        Some(number) => {
            let hint = format!("from {minimum} to {maximum}");
            Err(Refusal::new("out_of_range", format!("{number} is out of range"), hint))
        }
        None => {
            let message = format!("{} is no whole number", shown(value));
            Err(Refusal::new("wrong_type", message, format!("from {minimum} to {maximum}")))
        }
    }
}

/// One of a closed set of words, in any case.
pub fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Refusal> {
    let text = borrowed(value)?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        return Ok(*meaning);
    }
    let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(Refusal::new(
        "invalid_value",
        format!("`{text}` is not known here"),
        format!("one of {}", list.join(", ")),
    ))
}

/// The name of an object: a DNS label that starts with a letter, so that it is never mistaken for an id.
pub fn name(value: &Value) -> Result<String, Refusal> {
    let text = borrowed(value)?;
    let well_formed = text.len() <= NAME_LETTERS_MAX
        && text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if well_formed {
        return Ok(text.to_owned());
    }
    let hint = "1 to 63 of a-z, 0-9 and `-`, starting with a letter and not ending in `-`";
    Err(Refusal::new("invalid_name", format!("`{text}` is no valid name"), hint))
}

/// The name of a resource of a host or a driver, such as `nvidia.com/GA102GL_A10`.
pub fn resource_name(value: &Value) -> Result<String, Refusal> {
    let text = borrowed(value)?;
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    if !text.is_empty() && text.len() <= RESOURCE_NAME_LETTERS_MAX && text.bytes().all(inner) {
        return Ok(text.to_owned());
    }
    let hint = format!("1 to {RESOURCE_NAME_LETTERS_MAX} letters, digits, `.`, `_`, `-`, `/` and `:`");
    Err(Refusal::new("invalid_name", format!("`{text}` is no name of a resource"), hint))
}

/// A reference to another object: its name or its id.
pub fn reference(value: &Value) -> Result<String, Refusal> {
    let text = borrowed(value)?.trim();
    if text.is_empty() || text.len() > NAME_LETTERS_MAX {
        return Err(Refusal::new(
            "invalid_reference",
            "the reference is empty or too long",
            "a name or an id",
        ));
    }
    Ok(text.to_owned())
}

/// An IPv4 address.
pub fn ipv4(value: &Value) -> Result<Ipv4Addr, Refusal> {
    let text = borrowed(value)?;
    text.parse().map_err(|_| {
        if text.parse::<Ipv6Addr>().is_ok() {
            let message = format!("`{text}` is an IPv6 address");
            return Refusal::new("unsupported", message, "this field holds an IPv4 address");
        }
        Refusal::new("invalid_address", format!("`{text}` is no IPv4 address"), "write it like `10.0.0.5`")
    })
}

/// An IPv6 address.
pub fn ipv6(value: &Value) -> Result<Ipv6Addr, Refusal> {
    let text = borrowed(value)?;
    text.parse().map_err(|_| {
        Refusal::new("invalid_address", format!("`{text}` is no IPv6 address"), "write it like `fd00::5`")
    })
}

/// An IPv4 or IPv6 address.
pub fn ip(value: &Value) -> Result<IpAddr, Refusal> {
    let text = borrowed(value)?;
    text.parse().map_err(|_| {
        let hint = "write it like `10.0.0.5` or `fd00::5`";
        Refusal::new("invalid_address", format!("`{text}` is no IP address"), hint)
    })
}

/// An IPv4 range without host bits.
pub fn cidr(value: &Value) -> Result<Ipv4Net, Refusal> {
    match any_cidr(value) {
        Ok(IpNet::V4(range)) => Ok(range),
        Ok(IpNet::V6(range)) => {
            let hint = "this field holds an IPv4 range";
            Err(Refusal::new("unsupported", format!("`{range}` is IPv6"), hint))
        }
        Err(refusal) => Err(refusal),
    }
}

/// An IPv6 range without host bits.
pub fn ipv6_cidr(value: &Value) -> Result<Ipv6Net, Refusal> {
    match any_cidr(value)? {
        IpNet::V6(range) => Ok(range),
        IpNet::V4(range) => {
            Err(Refusal::new("invalid_cidr", format!("`{range}` is IPv4"), "write it like `fd00::/64`"))
        }
    }
}

/// An IPv4 or IPv6 range without host bits.
pub fn any_cidr(value: &Value) -> Result<IpNet, Refusal> {
    let text = borrowed(value)?;
    let range: IpNet = text.parse().map_err(|_| {
        let hint = "write it like `10.0.0.0/24`";
        Refusal::new("invalid_cidr", format!("`{text}` is no range of addresses"), hint)
    })?;
    if range.addr() == range.network() {
        return Ok(range);
    }
    let message = format!("`{text}` has bits set beyond its prefix");
    Err(Refusal::new("invalid_cidr", message, format!("did you mean `{}`?", range.trunc())))
}

/// A range or a single address, which counts as a range of one.
pub fn cidr_or_address(value: &Value) -> Result<IpNet, Refusal> {
    match borrowed(value)?.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => any_cidr(value),
    }
}

/// The MAC address of one interface: neither a group address nor zero.
pub fn mac(value: &Value) -> Result<MacAddress, Refusal> {
    let text = borrowed(value)?;
    let mac: MacAddress = text.parse().map_err(|error: crate::address::MacAddressError| {
        Refusal::new("invalid_mac", error.to_string(), "write it like `02:00:00:00:00:01`")
    })?;
    if mac.is_multicast() || mac.is_zero() {
        let hint = "the lowest bit of the first byte must be 0, and not all bits";
        return Err(Refusal::new("invalid_mac", format!("`{text}` is no address of one interface"), hint));
    }
    Ok(mac)
}

/// The name of a Linux network interface.
pub fn interface(value: &Value) -> Result<String, Refusal> {
    let text = borrowed(value)?;
    let well_formed = !text.is_empty()
        && text.len() <= INTERFACE_NAME_BYTES_MAX
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'));
    if well_formed {
        return Ok(text.to_owned());
    }
    let hint = "1 to 15 letters without spaces, `/` and `:`";
    Err(Refusal::new("invalid_interface", format!("`{text}` is no interface name"), hint))
}

fn borrowed(value: &Value) -> Result<&str, Refusal> {
    value.as_str().ok_or_else(|| Refusal {
        code: "wrong_type",
        message: format!("a text is expected, not {}", type_name(value)),
        hint: matches!(value, Value::Number(_) | Value::Bool(_))
            .then(|| format!("write \"{value}\" in quotes")),
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(_) | Value::Bool(_) | Value::String(_) => format!("`{value}`"),
        other => type_name(other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{cidr, cidr_or_address, integer, interface, ipv4, mac, name, word};

    #[test]
    fn names_are_dns_labels_that_start_with_a_letter() {
        for good in ["a", "web-1", "net0"] {
            assert!(name(&json!(good)).is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for wrong in ["", "1web", "Web", "web_1", "web-", "-web", "wéb", "a b", "a/b", long.as_str()] {
            assert_eq!(name(&json!(wrong)).unwrap_err().code, "invalid_name", "{wrong}");
        }
    }

    #[test]
    fn numbers_may_be_texts_of_digits() {
        assert_eq!(integer(&json!(7), 1, 9), Ok(7));
        assert_eq!(integer(&json!("7"), 1, 9), Ok(7));
        assert_eq!(integer(&json!(10), 1, 9).unwrap_err().code, "out_of_range");
        for wrong in [json!(-1), json!(1.5), json!("x"), json!(true), json!([1])] {
            assert_eq!(integer(&wrong, 0, 9).unwrap_err().code, "wrong_type", "{wrong}");
        }
    }

    #[test]
    fn addresses_say_what_was_meant() {
        assert!(cidr(&json!("10.0.0.1/24")).unwrap_err().hint.unwrap().contains("10.0.0.0/24"));
        assert_eq!(cidr(&json!("fd00::/64")).unwrap_err().code, "unsupported");
        assert_eq!(cidr(&json!("10.0.0.0")).unwrap_err().code, "invalid_cidr");
        assert_eq!(cidr_or_address(&json!("10.0.0.1")).unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(ipv4(&json!("::1")).unwrap_err().code, "unsupported");
        assert_eq!(ipv4(&json!("10.0.0.256")).unwrap_err().code, "invalid_address");
        assert_eq!(mac(&json!("01:00:5e:00:00:01")).unwrap_err().code, "invalid_mac");
        assert_eq!(mac(&json!("00:00:00:00:00:00")).unwrap_err().code, "invalid_mac");
        assert_eq!(mac(&json!(5)).unwrap_err().code, "wrong_type");
    }

    #[test]
    fn words_are_read_in_any_case() {
        let words = [("VXLAN", 1), ("FLAT", 2)];
        assert_eq!(word(&json!("flat"), &words), Ok(2));
        assert_eq!(word(&json!("GRE"), &words).unwrap_err().hint.unwrap(), "one of VXLAN, FLAT");
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        assert!(interface(&json!("tap-web.100@x")).is_ok());
        for wrong in ["", "..", "a b", "a/b", "abcdefghijklmnop"] {
            assert!(interface(&json!(wrong)).is_err(), "{wrong}");
        }
    }
}
