//! Which of our packages may depend on which, and what every manifest must inherit.
//!
//! [`ALLOWED`] is the table; ARCHITECTURE.md says why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::Value;

use crate::process;

/// What is wrong, a sentence each.
///
/// # Errors
/// When cargo can't describe the workspace, or a manifest can't be read.
pub(crate) fn check() -> anyhow::Result<Vec<String>> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--locked"];
    let metadata: Value = serde_json::from_str(&process::output(process::cargo(arguments))?)?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .context("cargo metadata has no packages")?;
    let mut edges = BTreeMap::new();
    let mut complaints = Vec::new();
    for package in packages {
        let name = text(package, "name")?;
        edges.insert(name.to_owned(), dependencies(package)?);
        let manifest = std::fs::read_to_string(text(package, "manifest_path")?)?;
        complaints.extend(manifest_complaints(name, &manifest));
    }
    complaints.extend(edge_complaints(&edges));
    Ok(complaints)
}

/// The packages in this repository that `package` depends on, for whatever purpose.
fn dependencies(package: &Value) -> anyhow::Result<BTreeSet<String>> {
    let listed =
        package.get("dependencies").and_then(Value::as_array).context("no dependencies")?;
    listed
        .iter()
        .filter(|dependency| dependency.get("path").is_some_and(|path| !path.is_null()))
        .map(|dependency| Ok(text(dependency, "name")?.to_owned()))
        .collect()
}

fn edge_complaints(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (package, dependencies) in edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == package) else {
            complaints.push(format!("{package} has no line in the table of allowed edges"));
            continue;
        };
        for dependency in dependencies {
            if !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{package} may not depend on {dependency}"));
            }
        }
    }
    complaints
}

fn manifest_complaints(package: &str, manifest: &str) -> Vec<String> {
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    let mut complaints = Vec::new();
    for field in INHERITED {
        if !lines.contains(field) {
            complaints.push(format!("{package}: its Cargo.toml lacks `{field}`"));
        }
    }
    if !lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]) {
        complaints
            .push(format!("{package}: its Cargo.toml lacks `[lints]` with `workspace = true`"));
    }
    complaints
}

fn text<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("cargo gave no `{field}`"))
}

/// A package, and the packages of this repository that it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("longwave-sse", &[]),
    ("longwave-core", &[]),
    ("longwave-store", &["longwave-core"]),
    ("longwave-delivery", &["longwave-core"]),
    ("longwave-client", &["longwave-sse"]),
    ("longwave-console", &[]),
    (
        "longwave",
        &[
            "longwave-client",
            "longwave-console",
            "longwave-core",
            "longwave-delivery",
            "longwave-sse",
            "longwave-store",
        ],
    ),
    ("longwave-bench", &[]),
    ("longwave-e2e", &["longwave-sse"]),
    ("longwave-example-alerts", &["longwave-client"]),
    ("xtask", &[]),
];

const INHERITED: &[&str] =
    &["version.workspace = true", "edition.workspace = true", "license.workspace = true"];

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(of: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        of.iter()
            .map(|(name, to)| ((*name).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn the_table_allows_what_it_lists_and_nothing_else() {
        assert_eq!(edge_complaints(&edges(ALLOWED)), Vec::<String>::new());
        assert_eq!(
            edge_complaints(&edges(&[("longwave-core", &["longwave-sse"])])),
            ["longwave-core may not depend on longwave-sse"]
        );
        assert_eq!(
            edge_complaints(&edges(&[("new", &[])])),
            ["new has no line in the table of allowed edges"]
        );
    }

    #[test]
    fn a_manifest_inherits_its_lints_edition_and_licence() {
        let good = "version.workspace = true\nedition.workspace = true\n\
                    license.workspace = true\n[lints]\nworkspace = true\n";
        assert_eq!(manifest_complaints("a", good), Vec::<String>::new());
        assert_eq!(manifest_complaints("a", "[package]\n").len(), 4);
    }
}
