pub(crate) const COVERED: &[&str] = &["C224", "C289", "C290"];
