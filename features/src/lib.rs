//! Nothing: the manifest is the content.
