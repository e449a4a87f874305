//! The MM3 objects of EdgeStack.
