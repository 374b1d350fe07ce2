//! The kernel modules that guests load: those that the tests use, and what these need, first.

use crate::{command, tool};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// Cables between namespaces, middleboxes, and what `ss` asks. Debian's cloud kernels have the rest
/// built in.
pub(crate) const WANTED: [&str; 7] =
    ["veth", "nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_reject_inet", "tcp_diag"];
/// kTLS and its cipher, which not every kernel has, or has built in.
pub(crate) const WANTED_IF_MODULES: [&str; 5] =
    ["tls", "aes_generic", "ctr", "ghash_generic", "gcm"];

/// The wanted modules and what they depend on, uncompressed, each after those that it needs.
pub(crate) fn in_order(files: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>> {
    let paths: BTreeMap<String, &PathBuf> =
        files.iter().filter_map(|path| Some((name(path)?, path))).collect();
    let read = |name: &str| {
        let path = paths.get(name).with_context(|| format!("no module {name} in the packages"))?;
        uncompressed(path)
    };
    let mut loaded = Loaded::default();
    for wanted in WANTED {
        loaded.add(wanted, &read)?;
    }
    for wanted in WANTED_IF_MODULES.into_iter().filter(|name| paths.contains_key(*name)) {
        loaded.add(wanted, &read)?;
    }
    Ok(loaded.modules)
}

#[derive(Default)]
struct Loaded {
    begun: BTreeSet<String>,
    modules: Vec<(String, Vec<u8>)>,
}

impl Loaded {
    fn add(&mut self, name: &str, read: &impl Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
        if !self.begun.insert(name.into()) {
            return Ok(());
        }
        let bytes = read(name)?;
        for needed in depends(&bytes) {
            self.add(&needed, read)?;
        }
        self.modules.push((name.into(), bytes));
        Ok(())
    }
}

/// `nf_tables` of `.../nf-tables.ko.xz`: the kernel takes both letters for one.
fn name(path: &Path) -> Option<String> {
    let (name, compression) = path.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz", ".zst"].contains(&compression).then(|| name.replace('-', "_"))
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    let program = match path.extension().and_then(OsStr::to_str) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("read {}", path.display())),
    };
    let output = command::new(tool::path(program)?)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .with_context(|| format!("{program} does not start"))?;
    if !output.status.success() {
        bail!("{program} cannot read {}", path.display());
    }
    Ok(output.stdout)
}

/// What a module says of itself in its section `.modinfo`, which `modules.dep` is made from.
fn depends(module: &[u8]) -> Vec<String> {
    let entries = module.split(|byte| *byte == 0);
    let names = entries.filter_map(|entry| entry.strip_prefix(b"depends="));
    let names = names.filter_map(|names| std::str::from_utf8(names).ok());
    names
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .map(Into::into)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Loaded, depends, name};
    use std::path::Path;

    #[test]
    fn a_module_says_what_it_needs() {
        let module = b"\x7fELF\0license=GPL\0depends=nf_tables,nf_conntrack\0retpoline=Y\0";
        assert_eq!(depends(module), ["nf_tables", "nf_conntrack"]);
        assert_eq!(depends(b"\0depends=\0"), Vec::<String>::new());
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let read = |name: &str| {
            let needs = match name {
                "ct" => "tables,track",
                "tables" => "track",
                _ => "",
            };
            Ok(format!("\0depends={needs}\0").into_bytes())
        };
        let mut loaded = Loaded::default();
        loaded.add("ct", &read).expect("all is there");
        loaded.add("tables", &read).expect("all is there");
        let names: Vec<_> = loaded.modules.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["track", "tables", "ct"]);
    }

    #[test]
    fn names_are_as_the_kernel_spells_them() {
        assert_eq!(name(Path::new("/a/nf-log.ko.xz")).as_deref(), Some("nf_log"));
        assert_eq!(name(Path::new("/a/veth.ko")).as_deref(), Some("veth"));
        assert_eq!(name(Path::new("/a/modules.order")), None);
    }
}
