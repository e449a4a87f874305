//! `edgectl explain network.ip_pool`: what the fields of an object are, in the words of the model.

use clap::Args;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use edgestack_model::docs::{self, FieldDoc};
use edgestack_model::suggest;
use serde_json::{Value, json};

use crate::args::NOUNS;
use crate::command::Action;
use crate::error::CliError;
use crate::noun::Noun;
use crate::output::{Table, print};
use crate::session::Session;

/// Arguments of explain.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  edgectl explain network
  edgectl explain port.allowed_address_pairs")]
pub(crate) struct ExplainArgs {
    /// Object, and with dots a field in it
    #[arg(value_name = "KIND[.FIELD]", add = ArgValueCandidates::new(kinds))]
    pub path: String,
}

/// The kinds, for the shell.
pub(crate) fn kinds() -> Vec<CompletionCandidate> {
    NOUNS.iter().map(|noun| CompletionCandidate::new(noun.kind.singular())).collect()
}

impl Action for ExplainArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let mut steps = self.path.split('.');
        let word = steps.next().unwrap_or_default();
        let noun = noun_called(word)?;
        let (text, fields) = docs::of(noun.kind).ok_or_else(|| {
            CliError::NotFound(format!("nothing is known of the fields of a {}", noun.kind))
        })?;
        let mut found = FieldDoc {
            name: noun.kind.singular().to_owned(),
            type_name: "object".to_owned(),
            text,
            fields,
            words: Vec::new(),
        };
        for step in steps {
            let names: Vec<&str> = found.fields.iter().map(|field| field.name.as_str()).collect();
            let Some(field) = found.fields.iter().find(|field| field.name == step) else {
                return Err(not_there(&format!("{} has no field `{step}`", found.name), step, &names));
            };
            found = FieldDoc { name: format!("{}.{step}", found.name), ..field.clone() };
        }
        if session.output.value(&to_json(&found))? { Ok(()) } else { print(&shown(&found)) }
    }
}

/// The noun that one of its words means.
pub(crate) fn noun_called(word: &str) -> Result<&'static Noun, CliError> {
    NOUNS.iter().find(|noun| is_word(noun, word)).copied().ok_or_else(|| {
        let words: Vec<&str> = NOUNS.iter().map(|noun| noun.kind.singular()).collect();
        not_there(&format!("there is no kind `{word}`"), word, &words)
    })
}

fn is_word(noun: &Noun, word: &str) -> bool {
    let kind = noun.kind;
    [noun.word, noun.plural, kind.singular(), kind.plural()].contains(&word) || noun.aliases.contains(&word)
}

fn not_there(message: &str, word: &str, known: &[&str]) -> CliError {
    let near =
        suggest::nearest(word, known.iter().copied()).map(|other| format!("; did you mean `{other}`?"));
    let known = if known.is_empty() { "it has none".to_owned() } else { known.join(", ") };
    CliError::NotFound(format!("{message}{} ({known})", near.unwrap_or_default()))
}

fn to_json(field: &FieldDoc) -> Value {
    let fields: Vec<Value> = field.fields.iter().map(to_json).collect();
    let words: Vec<Value> =
        field.words.iter().map(|(word, text)| json!({ "word": word, "text": text })).collect();
    json!({ "name": field.name, "type": field.type_name, "text": field.text, "words": words, "fields": fields })
}

fn shown(field: &FieldDoc) -> String {
    let mut lines = format!("{} ({})\n  {}\n", field.name, field.type_name, field.text);
    if !field.words.is_empty() {
        let mut table = Table::new(Vec::<String>::new());
        for (word, meaning) in &field.words {
            table.row([format!("  {word}"), meaning.clone()]);
        }
        lines.extend(["\nOne of:\n", &table.render(false, false)]);
    }
    if !field.fields.is_empty() {
        let mut table = Table::new(Vec::<String>::new());
        for field in &field.fields {
            table.row([format!("  {}", field.name), field.type_name.clone(), field.text.clone()]);
        }
        lines.extend(["\nFields:\n", &table.render(false, false)]);
    }
    lines
}
