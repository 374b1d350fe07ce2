//! The running kernel's type information, read just far enough to find members and values.
//!
//! A general BTF library builds every type of the kernel as an object: 140 ms and 60 MB, more than
//! a whole snapshot of 100,000 sockets. Here one pass notes where each type begins and a lookup
//! reads on from there, in a few milliseconds and under a megabyte.
//! Format: Documentation/bpf/btf.rst, include/uapi/linux/btf.h.

use std::collections::BTreeMap;

/// Where the kernel publishes its own BTF.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Why BTF could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not BTF, or end early.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
}

const MAGIC: u16 = 0xeb9f;
/// Typedefs, qualifiers and arrays around a type, at most: of the kernel's some have 3.
const MAX_LINKS: u32 = 32;
/// Structs and unions that a member is looked for in, at most: `sk_buff`'s are in some 10.
const MAX_ANONYMOUS: u32 = 256;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;

/// Type information with an index of the types that were asked for.
#[derive(Debug)]
pub(crate) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type begins, by id; id 0 is void.
    begins: Vec<u32>,
    named: BTreeMap<&'a str, Vec<u32>>,
}

/// One type's fixed part.
#[derive(Clone, Copy)]
struct Type {
    name: u32,
    kind: u32,
    n_members: usize,
    /// Member offsets hold a bitfield size in their upper byte.
    has_bitfields: bool,
    /// Its size, or the id of the type that it refers to.
    argument: u32,
    /// Where the variable part begins.
    rest: usize,
}

/// A member's place in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Bytes from the beginning of the struct.
    pub offset: u32,
    /// Length in bytes.
    pub size: u32,
}

impl<'a> Btf<'a> {
    /// Indexes `data`; structs and enums can be looked up later if their name is in `wanted`.
    pub(crate) fn parse(data: &'a [u8], wanted: &[&str]) -> Result<Self, Error> {
        let half = |at: usize| Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?));
        let word = |at: usize| u32_at(data, at).and_then(|word| usize::try_from(word).ok());
        if half(0) != Some(MAGIC) {
            return Err(Error::Malformed("no magic number of this machine's byte order"));
        }
        let section = |offset_at: usize| {
            let begin = word(4)?.checked_add(word(offset_at)?)?;
            data.get(begin..begin.checked_add(word(offset_at + 4)?)?)
        };
        let types = section(8).ok_or(Error::Malformed("types end early"))?;
        let strings = section(16).ok_or(Error::Malformed("strings end early"))?;
        let mut btf = Self { types, strings, begins: vec![0], named: BTreeMap::new() };
        let mut at = 0;
        while at < types.len() {
            let found = btf.read(at).ok_or(Error::Malformed("a type ends early"))?;
            let id = u32::try_from(btf.begins.len()).map_err(|_| Error::Malformed("too many"))?;
            btf.begins.push(u32::try_from(at).map_err(|_| Error::Malformed("too long"))?);
            if matches!(found.kind, KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_TYPEDEF | KIND_FUNC)
                && btf.begins_like(found.name, wanted)
                && let Some(name) = btf.string(found.name)
                && wanted.contains(&name)
            {
                btf.named.entry(name).or_default().push(id);
            }
            at = found.rest + rest_len(found).ok_or(Error::Malformed("an unknown kind of type"))?;
        }
        Ok(btf)
    }

    /// The place of `path`, as `struct.member.member`; a pointer on the way is not followed. A struct
    /// alone is all of it.
    pub(crate) fn member(&self, path: &str) -> Option<Member> {
        let (name, members) = path.split_once('.').unwrap_or((path, ""));
        // A name may be defined more than once; take the definition that has the member.
        self.named.get(name)?.iter().find_map(|&id| match members {
            // Where it is only declared its size is 0.
            "" => Some(Member { offset: 0, size: self.size_of(id).filter(|&size| size > 0)? }),
            _ => self.member_of(id, members),
        })
    }

    fn member_of(&self, id: u32, path: &str) -> Option<Member> {
        let (name, rest) = path.split_once('.').map_or((path, None), |(n, r)| (n, Some(r)));
        let (bits, id) = self.find(id, name)?;
        let offset = bits / 8;
        match rest {
            None => Some(Member { offset, size: self.size_of(id)? }),
            Some(rest) => {
                let Member { offset: inner, size } = self.member_of(self.resolve(id)?, rest)?;
                Some(Member { offset: offset + inner, size })
            }
        }
    }

    /// The bit at which the member `path` begins, counted from the beginning of its struct: of a bitfield.
    pub(crate) fn bit(&self, path: &str) -> Option<u32> {
        let (name, member) = path.split_once('.')?;
        let mut ids = self.named.get(name)?.iter();
        ids.find_map(|&id| self.find(id, member).map(|(bits, _)| bits))
    }

    /// The id of the function of this name.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        let mut ids = self.named.get(name)?.iter().copied();
        ids.find(|&id| self.get(id).is_some_and(|found| found.kind == KIND_FUNC))
    }

    /// The id of the type that has the member `path`.
    pub(crate) fn type_with(&self, path: &str) -> Option<u32> {
        let (name, member) = path.split_once('.')?;
        let mut ids = self.named.get(name)?.iter().copied();
        ids.find(|&id| self.member_of(id, member).is_some())
    }

    /// The value of an enumerator.
    pub(crate) fn value(&self, of_enum: &str, name: &str) -> Option<u32> {
        self.named.get(of_enum)?.iter().find_map(|&id| {
            let found = self.get(id).filter(|found| found.kind == KIND_ENUM)?;
            (0..found.n_members).find_map(|n| {
                let at = found.rest + n * 8;
                (self.string(u32_at(self.types, at)?)? == name)
                    .then(|| u32_at(self.types, at + 4))
                    .flatten()
            })
        })
    }

    /// BTF in which only the functions and typedefs `names` are left, under their own ids, and all
    /// else is blank: what attaching a hook by name needs, at a tenth of the cost of parsing all.
    pub(crate) fn only(&self, names: &[&str]) -> Vec<u8> {
        const BLANK: [u32; 3] = [0, 2 << 24, 0]; // an anonymous PTR to void
        let mut types: Vec<[u32; 3]> = vec![BLANK; self.begins.len().saturating_sub(1)];
        let mut strings = vec![0_u8];
        for name in names {
            for &id in self.named.get(name).into_iter().flatten() {
                let kind = self.get(id).map_or(0, |found| found.kind);
                let place = usize::try_from(id).ok().and_then(|id| types.get_mut(id - 1));
                if let (Some(place), KIND_TYPEDEF | KIND_FUNC) = (place, kind) {
                    *place = [u32::try_from(strings.len()).unwrap_or(0), kind << 24, 0];
                    strings.extend_from_slice(name.as_bytes());
                    strings.push(0);
                }
            }
        }
        let n_bytes = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let (n_types, n_strings) = (n_bytes(types.len() * 12), n_bytes(strings.len()));
        let magic_and_version = u32::from_ne_bytes({
            let [a, b] = MAGIC.to_ne_bytes();
            [a, b, 1, 0]
        });
        let header = [magic_and_version, 24, 0, n_types, n_types, n_strings];
        let words = header.iter().chain(types.iter().flatten());
        let mut data: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
        data.extend_from_slice(&strings);
        data
    }

    /// Offset in bits and type of the member `name`, looking into anonymous members. Damaged BTF may have one that is in
    /// itself.
    fn find(&self, id: u32, name: &str) -> Option<(u32, u32)> {
        let mut waiting = vec![(id, 0_u32)];
        for _ in 0..MAX_ANONYMOUS {
            let (id, base) = waiting.pop()?;
            let Some(found) = self.get(id) else {
                continue;
            };
            if !matches!(found.kind, KIND_STRUCT | KIND_UNION) {
                continue;
            }
            for n in 0..found.n_members {
                let at = found.rest + n * 12;
                let member_name = self.string(u32_at(self.types, at)?)?;
                let member_type = u32_at(self.types, at + 4)?;
                let bits = u32_at(self.types, at + 8)?;
                let inside = if found.has_bitfields { bits & 0x00ff_ffff } else { bits };
                let offset = base.checked_add(inside)?;
                if member_name == name {
                    return Some((offset, member_type));
                }
                if member_name.is_empty()
                    && let Some(inner) = self.resolve(member_type)
                {
                    waiting.push((inner, offset));
                }
            }
        }
        None
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        // VOLATILE 9, CONST 10, RESTRICT 11, TYPEDEF 8, TYPE_TAG 18.
        for _ in 0..MAX_LINKS {
            let found = self.get(id)?;
            if !matches!(found.kind, 8..=11 | 18) {
                return Some(id);
            }
            id = found.argument;
        }
        None
    }

    fn size_of(&self, mut id: u32) -> Option<u32> {
        let mut n_elements = 1_u32;
        for _ in 0..MAX_LINKS {
            let found = self.get(self.resolve(id)?)?;
            let size = match found.kind {
                2 => u32::try_from(size_of::<usize>()).ok()?,
                KIND_ARRAY => {
                    id = u32_at(self.types, found.rest)?;
                    n_elements = n_elements.checked_mul(u32_at(self.types, found.rest + 8)?)?;
                    continue;
                }
                _ => found.argument,
            };
            return n_elements.checked_mul(size);
        }
        None
    }

    fn get(&self, id: u32) -> Option<Type> {
        let begin = *self.begins.get(usize::try_from(id).ok()?)?;
        self.read(usize::try_from(begin).ok()?)
    }

    fn read(&self, at: usize) -> Option<Type> {
        let info = u32_at(self.types, at + 4)?;
        Some(Type {
            name: u32_at(self.types, at)?,
            kind: info >> 24 & 0x1f,
            n_members: usize::try_from(info & 0xffff).ok()?,
            has_bitfields: info >> 31 == 1,
            argument: u32_at(self.types, at + 8)?,
            rest: at + 12,
        })
    }

    /// Whether the string could be one of `wanted`: most are told by their first two bytes, long
    /// before their end is looked for.
    fn begins_like(&self, at: u32, wanted: &[&str]) -> bool {
        let Some([a, b]) = usize::try_from(at).ok().and_then(|at| self.strings.get(at..at + 2))
        else {
            return false;
        };
        wanted.iter().any(|name| matches!(name.as_bytes(), [x, y, ..] if x == a && y == b))
    }

    fn string(&self, at: u32) -> Option<&'a str> {
        let rest = self.strings.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(rest.get(..end)?).ok()
    }
}

/// Bytes behind a type's fixed part.
const fn rest_len(found: Type) -> Option<usize> {
    Some(match found.kind {
        1 | 14 | 17 => 4,          // INT, VAR, DECL_TAG
        2 | 7..=12 | 16 | 18 => 0, // PTR, FWD .. FUNC, FLOAT, TYPE_TAG
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | 15 | 19 => found.n_members * 12, // .. DATASEC, ENUM64
        KIND_ENUM | 13 => found.n_members * 8,                      // .. FUNC_PROTO
        _ => return None,
    })
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; union { char b[6]; struct inner { int c; } d; }; }`, and an enum.
    fn sample() -> Vec<u8> {
        let strings =
            b"\0outer\0a\0b\0d\0inner\0c\0int\0char\0sock_flags\0SOCK_KEEPOPEN\0handler\0";
        let name = |wanted: &str| {
            let with_nul = [wanted.as_bytes(), b"\0"].concat();
            let at = (1..strings.len())
                .find(|&at| strings[at - 1] == 0 && strings[at..].starts_with(&with_nul));
            u32::try_from(at.unwrap()).unwrap()
        };
        let info = |kind: u32, n: u32| kind << 24 | n;
        let words: Vec<u32> = [
            vec![name("int"), info(1, 0), 4, 32],     // 1
            vec![name("char"), info(1, 0), 1, 8],     // 2
            vec![0, info(KIND_ARRAY, 0), 0, 2, 1, 6], // 3
            vec![name("inner"), info(KIND_STRUCT, 1), 4, name("c"), 1, 0], // 4
            vec![0, info(KIND_UNION, 2), 8, name("b"), 3, 0, name("d"), 4, 0], // 5
            vec![name("outer"), info(KIND_STRUCT, 2), 12, name("a"), 1, 0, 0, 5, 32], // 6
            vec![name("sock_flags"), info(KIND_ENUM, 1), 4, name("SOCK_KEEPOPEN"), 3], // 7
            vec![name("handler"), info(KIND_FUNC, 0), 0], // 8
        ]
        .concat();
        let n_types = u32::try_from(words.len() * 4).unwrap();
        let n_strings = u32::try_from(strings.len()).unwrap();
        let header = [0x0001_eb9f, 24, 0, n_types, n_types, n_strings];
        let mut data: Vec<u8> =
            header.iter().chain(&words).flat_map(|word| word.to_ne_bytes()).collect();
        data.extend_from_slice(strings);
        data
    }

    #[test]
    fn members_are_found_through_anonymous_unions_and_named_structs() {
        let data = sample();
        let btf = Btf::parse(&data, &["outer", "sock_flags", "handler"]).unwrap();
        assert_eq!(btf.member("outer.a"), Some(Member { offset: 0, size: 4 }));
        assert_eq!(btf.member("outer.b"), Some(Member { offset: 4, size: 6 }));
        assert_eq!(btf.member("outer.d.c"), Some(Member { offset: 4, size: 4 }));
        assert_eq!(btf.member("outer.e"), None);
        assert_eq!(btf.member("outer").map(|outer| outer.offset), Some(0));
        assert_eq!(btf.value("sock_flags", "SOCK_KEEPOPEN"), Some(3));
        assert_eq!(btf.value("sock_flags", "SOCK_DEAD"), None);
        assert_eq!((btf.type_with("outer.d.c"), btf.type_with("outer.e")), (Some(6), None));
        assert_eq!((btf.function("handler"), btf.function("outer")), (Some(8), None));
    }

    #[test]
    fn what_hooks_attach_to_keeps_its_id_and_nothing_else_is_left() {
        let data = sample();
        let blank = Btf::parse(&data, &["handler"]).unwrap().only(&["handler"]);
        let btf = Btf::parse(&blank, &["handler", "outer"]).unwrap();
        assert_eq!(btf.named["handler"], [8]);
        assert_eq!(btf.begins.len(), 9);
        assert!(!btf.named.contains_key("outer"));
    }

    #[test]
    fn a_type_that_is_in_itself_has_no_such_member() {
        let mut data = sample();
        let n_strings = data.len() - 24 - usize::try_from(u32_at(&data, 12).unwrap()).unwrap();
        let types_end = data.len() - n_strings;
        // The last member of `outer` is anonymous: now it is `outer`.
        let word = |n: u32| n.to_ne_bytes();
        let of_outer =
            data[24..types_end].windows(8).rposition(|at| at == [word(0), word(5)].concat());
        let at = 24 + of_outer.unwrap() + 4;
        data[at..at + 4].copy_from_slice(&word(6));
        // The array of `b` is of itself.
        let array = [word(0), word(KIND_ARRAY << 24), word(0), word(2)].concat();
        let at = 24 + data[24..types_end].windows(16).position(|at| at == array).unwrap() + 12;
        data[at..at + 4].copy_from_slice(&word(3));
        let btf = Btf::parse(&data, &["outer"]).unwrap();
        assert_eq!(btf.member("outer.d"), None);
        assert_eq!(btf.size_of(3), None);
        assert_eq!(btf.member("outer.a"), Some(Member { offset: 0, size: 4 }));
    }

    #[test]
    fn every_truncation_is_an_error_or_an_absence_and_never_a_panic() {
        let data = sample();
        let member = |end: usize| {
            let btf = Btf::parse(&data[..end], &["outer", "sock_flags"]).ok()?;
            btf.member("outer.d.c")
        };
        let whole = member(data.len());
        assert!(whole.is_some());
        for end in 0..data.len() {
            let found = member(end);
            assert!(found.is_none() || found == whole, "{end}: {found:?}");
        }
    }
}
