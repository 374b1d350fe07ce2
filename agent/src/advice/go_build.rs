//! What the Go toolchain writes into a program that it builds: its own version, and the modules that are inside.

use super::known_files;
use crate::model::text::sanitize;
use object::{
    elf::FileHeader64,
    endian::Endianness,
    read::{
        ReadCache, ReadRef as _,
        elf::{FileHeader as _, SectionHeader as _},
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs::File, io::Read as _};

/// What is known of how a Go program was built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GoBuild {
    /// `go1.19.8`; none of what was built before 1.18, which writes it elsewhere.
    pub version: Option<String>,
    /// Paths of the modules that it was built of, with a major version at their end from v2 on.
    pub modules: BTreeSet<String>,
}

/// The linker puts Go's build id into the first pages.
const HEAD: u64 = 64 << 10;
/// The note of the build id: a name of four bytes, "Go", type 4.
const NOTE: &[u8] = b"\x04\0\0\0Go\0\0";
/// Where a header of 64 bits has the number of its sections. Of more sections than fit there the table may be of any size.
const N_SECTIONS_AT: usize = 0x3c;
/// What is read of the section: a program of a thousand modules has 100 KB.
const MAX_INFO: u64 = 1 << 20;
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The byte of flags behind the magic and the size of a pointer, and its bit: strings follow (debug/buildinfo, from 1.18).
const FLAGS_AT: usize = 15;
const STRINGS_FOLLOW: u8 = 2;
const STRINGS_AT: usize = 32;
/// What stands before and after the list of modules (`infoStart`, `infoEnd` in cmd/go/internal/modload/build.go).
const MARK: usize = 16;

impl GoBuild {
    /// What an executable says of itself; none if Go did not build it.
    pub(crate) fn of_executable(mut file: File) -> Option<Self> {
        let mut head = Vec::new();
        file.by_ref().take(HEAD).read_to_end(&mut head).ok()?;
        if !is_go(&head) {
            return None;
        }
        let info = info(&head, file).unwrap_or_default();
        Some(Self::of_info(&info).unwrap_or_default())
    }

    fn of_info(info: &[u8]) -> Option<Self> {
        let flags = info.strip_prefix(MAGIC)?.get(FLAGS_AT - MAGIC.len())?;
        if flags & STRINGS_FOLLOW == 0 {
            return None;
        }
        let (version, rest) = string(info.get(STRINGS_AT..)?)?;
        let list = string(rest).and_then(|(list, _)| list.get(MARK..list.len().checked_sub(MARK)?));
        let lines = list.unwrap_or_default().split(|&byte| byte == b'\n');
        let modules = lines.filter_map(|line| {
            let path = line.strip_prefix(b"dep\t")?.split(|&byte| byte == b'\t').next()?;
            Some(sanitize::escaped(path))
        });
        let version = known_files::cut(sanitize::escaped(version));
        Some(Self { version: Some(version), modules: modules.collect() })
    }

    /// 19 of `go1.19.8`.
    pub(crate) fn minor(&self) -> Option<u32> {
        let (_, rest) = self.version.as_ref()?.split_once("go1.")?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Whether it contains a module, of any major version.
    pub(crate) fn has(&self, module: &str) -> bool {
        let is_it = |path: &String| {
            path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.modules.iter().any(is_it)
    }
}

fn is_go(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF") && head.windows(NOTE.len()).any(|bytes| bytes == NOTE)
}

/// The section with the build's information.
fn info(head: &[u8], file: File) -> Option<Vec<u8>> {
    if head.get(N_SECTIONS_AT..N_SECTIONS_AT + 2)? == [0, 0] {
        return None;
    }
    let cache = ReadCache::new(file);
    let header = FileHeader64::<Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, &cache).ok()?;
    let (_, section) = sections.section_by_name(endian, b".go.buildinfo")?;
    let (begin, size) = section.file_range(endian)?;
    cache.read_bytes_at(begin, size.min(MAX_INFO)).ok().map(<[u8]>::to_vec)
}

/// A string behind its length, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0_usize;
    for (number, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            return bytes.get(number + 1..)?.split_at_checked(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section as `go build` writes it.
    fn written(version: &str, modules: &str) -> Vec<u8> {
        let mut info = MAGIC.to_vec();
        info.extend([8, STRINGS_FOLLOW]);
        info.resize(STRINGS_AT, 0);
        let list = format!("{0}{modules}{0}", "0123456789abcdef");
        for text in [version, &list] {
            let length = u8::try_from(text.len() & 0x7f).unwrap();
            info.extend([length | 0x80, u8::try_from(text.len() >> 7).unwrap()]);
            info.extend(text.as_bytes());
        }
        info
    }

    #[test]
    fn version_and_modules_are_read() {
        let list = "path\tshop\nmod\tshop\t(devel)\t\ndep\tgithub.com/redis/go-redis/v9\tv9.7.0\th1:x=\n\
            dep\tgithub.com/lib/pq\tv1.10.9\th1:y=\nbuild\t-compiler=gc\n";
        let build = GoBuild::of_info(&written("go1.19.8", list)).unwrap();
        assert_eq!((build.version.as_deref(), build.minor()), (Some("go1.19.8"), Some(19)));
        assert!(build.has("github.com/redis/go-redis") && build.has("github.com/lib/pq"));
        assert!(!build.has("github.com/lib/p") && !build.has("shop"), "{build:?}");
    }

    #[test]
    fn versions_of_all_makers_are_understood() {
        let minor = |version: &str| {
            GoBuild { version: Some(version.to_owned()), ..GoBuild::default() }.minor()
        };
        assert_eq!(minor("go1.22.1 (Red Hat 1.22.1-1.el9)"), Some(22));
        assert_eq!(minor("devel go1.24-0ca8c2 Thu Nov 7"), Some(24));
        assert_eq!(minor("go1.27.3 X:nodwarf5"), Some(27));
        assert_eq!((minor("go2"), minor("")), (None, None));
        assert_eq!(GoBuild::default().minor(), None);
    }

    #[test]
    fn what_is_cut_or_strange_says_nothing() {
        let whole = written("go1.23.4", "dep\tgithub.com/lib/pq\tv1\n");
        for length in 0..whole.len() {
            let cut = GoBuild::of_info(&whole[..length]);
            assert!(cut.is_none_or(|build| build.modules.is_empty()), "{length}");
        }
        // Before 1.18 there are pointers in the place of strings.
        let mut pointers = whole;
        pointers[FLAGS_AT] = 0;
        assert_eq!(GoBuild::of_info(&pointers), None);
        let mut endless = MAGIC.to_vec();
        endless.extend([8, STRINGS_FOLLOW]);
        endless.resize(STRINGS_AT, 0);
        endless.extend([0xff; 64]);
        assert_eq!(GoBuild::of_info(&endless), None);
    }

    #[test]
    fn a_go_program_is_known_by_its_note() {
        let elf = |note: &[u8]| [b"\x7fELF".as_slice(), &[0; 0xf98], note].concat();
        assert!(is_go(&elf(b"\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0abc")));
        assert!(!is_go(&elf(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0abc")));
        assert!(!is_go(b"#!/bin/sh\n\x04\0\0\0Go\0\0"));
    }

    #[test]
    fn a_program_that_go_did_not_build_has_no_build() {
        let own = File::open("/proc/self/exe").unwrap();
        assert_eq!(GoBuild::of_executable(own), None);
        // With the note of Go, but no section of that name, in a file that is cut.
        let folder = std::env::temp_dir().join(format!("keepwatch-go-{}", std::process::id()));
        std::fs::write(&folder, [b"\x7fELF".as_slice(), &[2; 0x100], NOTE].concat()).unwrap();
        let build = File::open(&folder).ok().and_then(GoBuild::of_executable);
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(build, Some(GoBuild::default()));
    }
}
