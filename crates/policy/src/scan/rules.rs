//! The rules as data.

/// How bad it is when this leaves, most severe last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

/// One detector: what it is called and shown as.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rule {
    /// Kebab case, stable: what `exempt:` names.
    pub id: &'static str,
    /// For people, in a finding.
    pub title: &'static str,
    pub severity: Severity,
}
