//! The description of the API as a page for people: text alone, which asks no other host and runs nothing.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;\
    color-scheme:light dark}code,pre{font:13px/1.5 ui-monospace,monospace}pre{overflow:auto;padding:.6rem;\
    border:1px solid #8886;border-radius:4px}summary{cursor:pointer}summary code{font-weight:600}\
    table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}h2{margin-top:2.5rem}";

/// The page for a description.
pub(super) fn render(document: &Value) -> String {
    let info = &document["info"];
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title} \
         {version}</h1><p>{about}</p><p>For programs: <a href=\"/openapi.json\">/openapi.json</a></p><nav>",
        title = text(&info["title"]),
        version = text(&info["version"]),
        about = text(&info["description"]),
    );
    let tags: Vec<&str> = items(&document["tags"]).filter_map(|tag| tag["name"].as_str()).collect();
    for tag in &tags {
        let _ = write!(page, "<a href=\"#{tag}\">{tag}</a> ");
    }
    page.push_str("</nav>");
    for tag in tags {
        let _ = write!(page, "<h2 id=\"{tag}\">{tag}</h2>");
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if operation["tags"][0] == tag {
                    write_operation(&mut page, document, &method.to_uppercase(), path, operation);
                }
            }
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn write_operation(page: &mut String, document: &Value, method: &str, path: &str, operation: &Value) {
    let _ = write!(
        page,
        "<details id=\"{id}\"><summary><code>{method} {path}</code> {summary}</summary><table>",
        id = text(&operation["operationId"]),
        path = escaped(path),
        summary = text(&operation["summary"]),
    );
    for parameter in items(&operation["parameters"]) {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let about = text(&parameter["description"]);
        let _ = write!(page, "<tr><td><code>{name}</code></td><td>{place}</td><td>{about}</td></tr>");
    }
    page.push_str("</table>");
    write_example(page, "Request", &operation["requestBody"]["content"]);
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let reference = answer["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        let answer = reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(answer);
        let _ = write!(page, "<p><code>{status}</code> {}</p>", text(&answer["description"]));
        if status.starts_with('2') {
            write_example(page, "Answer", &answer["content"]);
        }
    }
    page.push_str("</details>");
}

fn write_example(page: &mut String, title: &str, content: &Value) {
    for (media_type, content) in content.as_object().into_iter().flatten() {
        let example = match &content["example"] {
            Value::String(text) => text.clone(),
            other => format!("{other:#}"),
        };
        let _ = write!(page, "<p>{title}, {}</p><pre>{}</pre>", escaped(media_type), escaped(&example));
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
