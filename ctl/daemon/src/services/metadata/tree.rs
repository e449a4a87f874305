//! Directories and files, as the dialects show them: a directory is a list of its names, one a line.

/// The type of files that have no other.
const PLAIN: &str = "text/plain";

/// A file or directory.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// A file: its text and type.
    File(String, &'static str),
    /// A directory.
    Directory(Vec<Child>),
}

/// What is in a directory.
#[derive(Clone, Debug)]
pub(super) struct Child {
    /// Its part of the path.
    name: String,
    /// How the directory lists it.
    listed: String,
    tree: Tree,
}

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) text: String,
    pub(super) content_type: &'static str,
}

impl Tree {
    /// A file of plain text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::File(text.into(), PLAIN)
    }

    /// A file of JSON.
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self::File(value.to_string(), "application/json")
    }

    /// A directory; children that are none are left out.
    pub(super) fn directory<'a>(children: impl IntoIterator<Item = (&'a str, Option<Self>)>) -> Self {
        let child = |(name, tree): (&str, Option<Self>)| Some(Child::new(name, tree?));
        Self::Directory(children.into_iter().filter_map(child).collect())
    }

    /// What is at a path below.
    pub(super) fn find(&self, path: &[&str]) -> Option<Found> {
        match (self, path.split_first()) {
            (Self::File(text, content_type), None) => Some(Found { text: text.clone(), content_type }),
            (Self::File(..), Some(_)) => None,
            (Self::Directory(children), None) => {
                let names: Vec<&str> = children.iter().map(|child| child.listed.as_str()).collect();
                Some(Found { text: names.join("\n"), content_type: PLAIN })
            }
            (Self::Directory(children), Some((name, rest))) => {
                children.iter().find(|child| child.name == *name)?.tree.find(rest)
            }
        }
    }
}

impl Child {
    /// Listed by its name, with a slash where it is a directory.
    pub(super) fn new(name: &str, tree: Tree) -> Self {
        let slash = if matches!(tree, Tree::Directory(_)) { "/" } else { "" };
        Self { name: name.to_owned(), listed: format!("{name}{slash}"), tree }
    }

    /// Listed in another way.
    pub(super) fn listed(name: String, listed: String, tree: Tree) -> Self {
        Self { name, listed, tree }
    }
}
