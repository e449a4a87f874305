//! Client of the EdgeStack API.
