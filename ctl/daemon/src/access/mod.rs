//! Who may do what: roles, and what each may do with which kind of object.
//!
//! Called by `http/`, before anything else is done with a request. Knows nothing of what requests do.

pub mod authority;
pub mod identity;
pub mod table;
