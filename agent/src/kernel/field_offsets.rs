//! The layout of the running kernel, from its BTF.

use super::btf::{self, Btf};
use keepwatch_ebpf::layout::{ABSENT, FIELDS, FieldSource, Layout};
use std::io;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Why there is no layout.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No BTF to read.
    #[error(
        "cannot read {}: this kernel publishes no type information (CONFIG_DEBUG_INFO_BTF); \
         keepwatch needs a kernel that does, as every distribution's does since about 2021",
        btf::VMLINUX
    )]
    NoBtf(#[source] io::Error),
    /// BTF that cannot be parsed.
    #[error("cannot read {}", btf::VMLINUX)]
    Btf(#[from] btf::Error),
    /// A kernel that has none of the members that this version knows for a field.
    #[error(
        "this kernel's BTF has no {wanted}: it is too old, or newer than this keepwatch; \
         please report the kernel's version"
    )]
    Missing {
        /// The first place looked for.
        wanted: String,
    },
}

/// What the hooks need to know of the running kernel's types.
#[derive(Debug)]
pub struct Types {
    /// Where it keeps what they read.
    pub layout: Layout,
    /// BTF of what they attach to (see [`Btf::only`]).
    pub targets: Vec<u8>,
}

/// Reads the running kernel's BTF: every field of the layout, and the `targets` by name.
pub fn of_running_kernel(targets: &[&str]) -> Result<Types, Error> {
    let data = std::fs::read(btf::VMLINUX).map_err(Error::NoBtf)?;
    of(&data, targets)
}

fn of(data: &[u8], targets: &[&str]) -> Result<Types, Error> {
    let mut wanted: Vec<&str> = FIELDS.iter().flat_map(|(_, from)| *from).map(root).collect();
    wanted.extend(targets);
    wanted.sort_unstable();
    wanted.dedup();
    let btf = Btf::parse(data, &wanted)?;
    Ok(Types { layout: resolve(&btf)?, targets: btf.only(targets) })
}

fn resolve(btf: &Btf<'_>) -> Result<Layout, Error> {
    let mut values = [ABSENT; FIELDS.len()];
    for (value, (_, sources)) in values.iter_mut().zip(FIELDS) {
        *value = sources.iter().find_map(|source| look_up(btf, source)).ok_or_else(|| {
            Error::Missing { wanted: sources.first().map(ToString::to_string).unwrap_or_default() }
        })?;
    }
    Layout::read_from_bytes(values.as_bytes())
        .map_err(|_| Error::Missing { wanted: "layout of the expected length".to_owned() })
}

const fn path(source: &FieldSource) -> &'static str {
    match source {
        FieldSource::Offset(path)
        | FieldSource::Size(path)
        | FieldSource::Given(_, path)
        | FieldSource::IfFunction(_, path)
        | FieldSource::Inside(path, _)
        | FieldSource::Id(path)
        | FieldSource::Bit(path)
        | FieldSource::Value(path, _) => path,
        FieldSource::Else(_) => "",
    }
}

fn root(source: &FieldSource) -> &'static str {
    path(source).split('.').next().unwrap_or_default()
}

fn look_up(btf: &Btf<'_>, source: &FieldSource) -> Option<u32> {
    match source {
        FieldSource::Offset(path) => btf.member(path).map(|member| member.offset),
        FieldSource::Bit(path) => btf.bit(path),
        FieldSource::Size(path) => btf.member(path).map(|member| member.size),
        FieldSource::Given(value, path) => btf.member(path).map(|_| *value),
        FieldSource::Inside(path, bytes) => btf.member(path).map(|member| member.offset + bytes),
        FieldSource::IfFunction(value, name) => btf.function(name).map(|_| *value),
        FieldSource::Id(path) => btf.type_with(path).or_else(|| btf.function(path)),
        FieldSource::Else(value) => Some(*value),
        FieldSource::Value(of_enum, name) => btf.value(of_enum, name),
    }
}

/// Which member a field was read from: for `doctor`, where kernels differ.
pub fn chosen(field: &str, data: &[u8]) -> Option<&'static str> {
    let (_, sources) = FIELDS.iter().find(|(name, _)| *name == field)?;
    let wanted: Vec<&str> = sources.iter().map(root).collect();
    let btf = Btf::parse(data, &wanted).ok()?;
    sources.iter().find(|source| look_up(&btf, source).is_some()).map(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_btf_is_one_clear_error() {
        let error = of(&[], &[]).unwrap_err();
        assert!(error.to_string().contains(btf::VMLINUX), "{error}");
    }
}
