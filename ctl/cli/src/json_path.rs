//! `-o jsonpath=…` and `-o custom-columns=…`: parts of an answer, written as kubectl writes them.
//!
//! A template is text with expressions in braces: `{.name}`, `{range .networks[*]}{.name}{"\n"}{end}`. Without braces
//! it is one expression. A path has fields (`.a`, `['a']`), elements (`[0]`, `[-1]`, `[*]`, `[1:3]`), a search at any
//! depth (`..a`) and conditions (`[?(@.type=="VXLAN")]`). What is not there is no text, and no error.

use std::cmp::Ordering;

use serde_json::Value;

/// Deepest search of `..name`.
const DEPTH_MAX: usize = 64;

/// A template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

/// A path into a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

/// A column of `custom-columns`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CustomColumn {
    /// Title.
    pub title: String,
    /// What its cells hold.
    pub path: JsonPath,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(JsonPath),
    Range(JsonPath, Vec<Self>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Anywhere(String),
    Every,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Where(JsonPath, Option<(Comparison, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            return Ok(Self(vec![Part::Path(JsonPath::parse(text)?)]));
        }
        let mut rest = text;
        let parts = parse_parts(&mut rest, false)?;
        Ok(Self(parts))
    }

    /// The text that it makes of a value.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut text = String::new();
        render(&self.0, value, &mut text);
        text
    }
}

/// Reads `NAME:.name,MTU:.mtu`.
pub(crate) fn parse_columns(text: &str) -> Result<Vec<CustomColumn>, String> {
    let columns = text.split(',').filter(|column| !column.trim().is_empty()).map(|column| {
        let (title, path) = column
            .trim()
            .split_once(':')
            .ok_or_else(|| format!("`{column}` is no column; write TITLE:PATH, like NAME:.name,MTU:.mtu"))?;
        let path = path.trim_start_matches('{').trim_end_matches('}');
        Ok(CustomColumn { title: title.to_owned(), path: JsonPath::parse(path)? })
    });
    let columns: Vec<CustomColumn> = columns.collect::<Result<_, String>>()?;
    if columns.is_empty() {
        Err("no column; write TITLE:PATH, like NAME:.name".to_owned())
    } else {
        Ok(columns)
    }
}

fn parse_parts(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some(open) = rest.find('{') else {
            if in_range {
                return Err("a {range} has no {end}".to_owned());
            }
            if !rest.is_empty() {
                parts.push(Part::Text((*rest).to_owned()));
            }
            return Ok(parts);
        };
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let (expression, behind) = braced(&rest[open + 1..])?;
        *rest = behind;
        match expression.trim() {
            "end" if in_range => return Ok(parts),
            "end" => return Err("an {end} has no {range}".to_owned()),
            text if text.starts_with("range ") => {
                let path = JsonPath::parse(&text["range ".len()..])?;
                parts.push(Part::Range(path, parse_parts(rest, true)?));
            }
            text if text.starts_with(['"', '\'']) => parts.push(Part::Text(unquote(text)?)),
            text => parts.push(Part::Path(JsonPath::parse(text)?)),
        }
    }
}

/// What stands before the closing brace, quotes kept whole, and what stands behind it.
fn braced(text: &str) -> Result<(&str, &str), String> {
    let mut quote = None;
    let mut escaped = false;
    for (index, letter) in text.char_indices() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '}') => return Ok((&text[..index], &text[index + 1..])),
            _ => {}
        }
    }
    Err(format!("`{{{text}` is not closed with }}"))
}

/// A text in quotes, with `\n`, `\t` and `\"`.
fn unquote(text: &str) -> Result<String, String> {
    let quote = text.chars().next().unwrap_or('"');
    let inner = text[1..].strip_suffix(quote).ok_or_else(|| format!("{text} is not closed with {quote}"))?;
    let mut plain = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            },
            letter => letter,
        });
    }
    Ok(plain)
}

fn render(parts: &[Part], value: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(plain) => text.push_str(plain),
            Part::Path(path) => {
                let found: Vec<String> = path.select(value).into_iter().map(shown).collect();
                text.push_str(&found.join(" "));
            }
            Part::Range(path, parts) => {
                for item in path.select(value) {
                    render(parts, item, text);
                }
            }
        }
    }
}

/// A value as text: strings as they are, the rest as JSON.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl JsonPath {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let whole = text.trim();
        let mut rest = whole.strip_prefix(['$', '@']).unwrap_or(whole);
        // `name` is `.name`.
        let dotted;
        if rest.starts_with(|first: char| first.is_alphanumeric() || first == '_') {
            dotted = format!(".{rest}");
            rest = &dotted;
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = parse_step(rest).map_err(|message| format!("`{whole}`: {message}"))?;
            steps.extend(step);
            rest = behind;
        }
        Ok(Self(steps))
    }

    /// Every value that the path leads to.
    pub(crate) fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        self.0
            .iter()
            .fold(vec![value], |found, step| found.into_iter().flat_map(|value| step.select(value)).collect())
    }
}

fn parse_step(text: &str) -> Result<(Option<Step>, &str), String> {
    if let Some(rest) = text.strip_prefix("..") {
        let (name, rest) = field_name(rest);
        return if name.is_empty() {
            Err("`..` wants a name behind it".to_owned())
        } else {
            Ok((Some(Step::Anywhere(name.to_owned())), rest))
        };
    }
    if let Some(rest) = text.strip_prefix('.') {
        let (name, rest) = field_name(rest);
        let step = match name {
            // `.` alone is the value itself; `.[0]` is `[0]`.
            "" if rest.is_empty() || rest.starts_with('[') => None,
            "" => return Err(format!("`.{rest}` wants a name behind the dot")),
            "*" => Some(Step::Every),
            name => Some(Step::Field(name.to_owned())),
        };
        return Ok((step, rest));
    }
    let Some(rest) = text.strip_prefix('[') else {
        return Err(format!("`{text}` is no step; write .name, [0], [*] or [?(@.name==\"x\")]"));
    };
    let end = closing_bracket(rest).ok_or("a [ is not closed")?;
    Ok((Some(parse_bracket(rest[..end].trim())?), &rest[end + 1..]))
}

fn field_name(text: &str) -> (&str, &str) {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    text.split_at(end)
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (index, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(index),
            (None, ']') => depth -= 1,
            // Anything in quotes is text.
            _ => {}
        }
    }
    None
}

fn parse_bracket(inner: &str) -> Result<Step, String> {
    if inner == "*" {
        return Ok(Step::Every);
    }
    if inner.starts_with(['"', '\'']) {
        return Ok(Step::Field(unquote(inner)?));
    }
    if let Some(condition) = inner.strip_prefix('?') {
        let condition = condition.trim();
        let plain = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(condition);
        return parse_condition(plain);
    }
    let number = |text: &str| -> Result<Option<i64>, String> {
        match text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("`{text}` is no number of an element")),
        }
    };
    if let Some((from, to)) = inner.split_once(':') {
        return Ok(Step::Slice(number(from)?, number(to)?));
    }
    number(inner)?.map(Step::Index).ok_or_else(|| "[] wants a number, * or a condition".to_owned())
}

fn parse_condition(text: &str) -> Result<Step, String> {
    let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
        text.split_once(sign).map(|(path, wanted)| (path, *comparison, wanted.trim()))
    });
    let Some((path, comparison, wanted)) = found else {
        return Ok(Step::Where(JsonPath::parse(text)?, None));
    };
    let wanted = match wanted {
        text if text.starts_with(['"', '\'']) => Value::String(unquote(text)?),
        text => serde_json::from_str(text)
            .map_err(|_| format!("`{text}` is neither a number, true, false, nor a text in quotes"))?,
    };
    Ok(Step::Where(JsonPath::parse(path)?, Some((comparison, wanted))))
}

impl Step {
    fn select<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Anywhere(name) => {
                let mut found = Vec::new();
                search(value, name, 0, &mut found);
                found
            }
            Self::Every => children(value),
            Self::Index(index) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let index = if *index < 0 { index + items.len() as i64 } else { *index };
                usize::try_from(index).ok().and_then(|index| items.get(index)).into_iter().collect()
            }
            Self::Slice(from, to) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                let length = items.len() as i64;
                let place = |end: i64| (if end < 0 { end + length } else { end }).clamp(0, length) as usize;
                let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
                items.get(from..to).unwrap_or_default().iter().collect()
            }
            Self::Where(path, wanted) => children(value)
                .into_iter()
                .filter(|child| {
                    let found = path.select(child);
                    match wanted {
                        None => !found.is_empty(),
                        Some((comparison, wanted)) => {
                            found.first().is_some_and(|found| comparison.holds(found, wanted))
                        }
                    }
                })
                .collect(),
        }
    }
}

impl Comparison {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let order = match (found.as_f64(), wanted.as_f64()) {
            (Some(found), Some(wanted)) => found.partial_cmp(&wanted),
            _ => found.as_str().zip(wanted.as_str()).map(|(found, wanted)| found.cmp(wanted)),
        };
        match self {
            Self::Equal => found == wanted || order == Some(Ordering::Equal),
            Self::Unequal => found != wanted && order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn search<'a>(value: &'a Value, name: &str, depth: usize, found: &mut Vec<&'a Value>) {
    if depth > DEPTH_MAX {
        return;
    }
    found.extend(value.get(name));
    for child in children(value) {
        search(child, name, depth + 1, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Template, parse_columns};

    fn render(template: &str) -> String {
        let body = json!({"networks": [
            {"name": "blue", "mtu": 1450, "dns": ["9.9.9.9", "8.8.8.8"], "status": {"phase": "Active"}, "gateway": null},
            {"name": "wan", "mtu": 1500, "external": true, "dns": [], "status": {"phase": "Pending"}},
        ], "total": 2});
        Template::parse(template).unwrap().render(&body)
    }

    #[test]
    fn templates_are_kubectl_s() {
        for (template, text) in [
            ("{.networks[*].name}", "blue wan"),
            ("$.networks[0].mtu", "1450"),
            ("networks[-1].name", "wan"),
            (".networks[0].dns", r#"["9.9.9.9","8.8.8.8"]"#),
            (".networks[0].dns[1:]", "8.8.8.8"),
            (".networks[:1]['name']", "blue"),
            ("..phase", "Active Pending"),
            ("{range .networks[*]}{.name}{'\\t'}{.mtu}{\"\\n\"}{end}", "blue\t1450\nwan\t1500\n"),
            ("{.total} networks: {.networks[*].name}", "2 networks: blue wan"),
            (r#"{.networks[?(@.status.phase=="Active")].name}"#, "blue"),
            ("{.networks[?(@.mtu>1450)].name}", "wan"),
            ("{.networks[?(@.mtu>=1450)].name}", "blue wan"),
            ("{.networks[?(@.external)].name}", "wan"),
            (r#"{.networks[?(@.name!="wan")].name}"#, "blue"),
            ("{.networks[9].name}{.nothing}", ""),
            ("{.networks[0].gateway}", ""),
            ("{\"}\"}", "}"),
            (".networks[*].dns.*", "9.9.9.9 8.8.8.8"),
        ] {
            assert_eq!(render(template), text, "{template}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_template_is_named() {
        for (template, part) in [
            ("{.name", "is not closed"),
            ("{range .a[*]}{.b}", "no {end}"),
            ("{end}", "no {range}"),
            (".a[x]", "`x` is no number"),
            (".a[0", "not closed"),
            (".a..", "wants a name"),
            (".a.[b", "not closed"),
            ("[?(@.a==b)]", "`b` is neither"),
            ("#", "is no step"),
            ("[]", "wants a number"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn columns_have_titles_and_paths() {
        let columns = parse_columns("NAME:.name, MTU:{.mtu}").unwrap();
        assert_eq!(columns.iter().map(|column| column.title.as_str()).collect::<Vec<_>>(), ["NAME", "MTU"]);
        assert!(parse_columns("NAME").unwrap_err().contains("TITLE:PATH"));
        assert!(parse_columns(" ").is_err());
    }
}
