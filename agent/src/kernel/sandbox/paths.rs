//! Landlock: the paths that may be opened, and for what. What is beneath no place of the list can be neither read, written,
//! made, removed nor executed; TCP, UDP, signals to others and their sockets are refused where the kernel can.
//!
//! A place is an inode: what is made there later counts, and what is mounted over it does not.

use super::Confinement;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use rustix::fs::{FileType, fstat};
use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

/// The newest that the guests of `cargo xtask vm` have (7.2).
const NEWEST: ABI = ABI::V10;
/// What a kernel cannot refuse, by the ABI that can (include/uapi/linux/landlock.h).
const SINCE: [(ABI, &str); 6] = [
    (ABI::V3, "cutting files"),
    (ABI::V4, "TCP"),
    (ABI::V5, "ioctl on devices"),
    (ABI::V6, "signals and abstract sockets"),
    (ABI::V9, "sockets by their path"),
    (ABI::V10, "UDP"),
];
const OFF: &str = "this kernel has landlock, and it is off: boot with `landlock` in lsm=";
const NONE: &str = "this kernel has no landlock (since 5.13, CONFIG_SECURITY_LANDLOCK)";

/// What may be done beneath a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files and list folders.
    Read,
    /// List folders.
    List,
    /// Read, write, make and remove plain files.
    Write,
    /// Remove files.
    Remove,
}

impl Access {
    const fn rights(self) -> BitFlags<AccessFs> {
        match self {
            Self::Read => make_bitflags!(AccessFs::{ReadFile | ReadDir}),
            Self::List => make_bitflags!(AccessFs::{ReadDir}),
            Self::Write => make_bitflags!(AccessFs::{
                ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile
            }),
            Self::Remove => make_bitflags!(AccessFs::{RemoveFile}),
        }
    }
}

/// The places that a process needs from now on.
#[derive(Debug, Default)]
pub struct Reach {
    places: Vec<(OwnedFd, Access)>,
}

impl Reach {
    /// What the kernel and the C library show to whoever runs: processes, CPUs, random bytes, the time zone.
    pub fn of_any_agent() -> Self {
        const READ: [&str; 5] = [
            "/proc",
            "/sys/devices/system/cpu",
            "/dev/urandom",
            "/etc/localtime",
            "/usr/share/zoneinfo",
        ];
        let mut reach = Self::default();
        for path in READ {
            reach.add(Path::new(path), Access::Read);
        }
        reach
    }

    /// Adds a path, links followed. One that is not there gives nothing.
    pub fn add(&mut self, path: &Path, access: Access) {
        if let Ok(place) = PathFd::new(path)
            && let Ok(place) = place.as_fd().try_clone_to_owned()
        {
            self.add_open(place, access);
        }
    }

    /// Adds a place that is open.
    pub fn add_open(&mut self, place: OwnedFd, access: Access) {
        self.places.push((place, access));
    }

    /// Gives up all other paths.
    pub(super) fn enter(&self) -> Confinement {
        let entered = || -> Result<Confinement, RulesetError> {
            let mut rules = Ruleset::default()
                .handle_access(AccessFs::from_all(NEWEST))?
                .handle_access(AccessNet::from_all(NEWEST))?
                .scope(Scope::from_all(NEWEST))?
                .create()?;
            for (place, access) in &self.places {
                let is_folder = fstat(place)
                    .is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::Directory);
                let rights = access.rights();
                let rights = if is_folder { rights } else { rights & ACCESS_OF_FILES };
                if !rights.is_empty() {
                    rules = rules.add_rule(PathBeneath::new(place, rights))?;
                }
            }
            let status = rules.restrict_self()?;
            Ok(match status.ruleset {
                RulesetStatus::NotEnforced => Confinement::absent(absence(status.landlock)),
                _ => Confinement { in_force: true, missing: lacks(status.landlock) },
            })
        };
        entered()
            .unwrap_or_else(|error| Confinement::absent(format!("the kernel refuses it: {error}")))
    }
}

/// What a file may be asked for: the kernel refuses more (`ACCESS_FILE` in security/landlock/fs.c).
const ACCESS_OF_FILES: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{Execute | WriteFile | ReadFile | Truncate | IoctlDev});

const fn absence(status: LandlockStatus) -> &'static str {
    match status {
        LandlockStatus::NotEnabled => OFF,
        LandlockStatus::NotImplemented | LandlockStatus::Available { .. } => NONE,
    }
}

/// What this kernel's landlock is too old for.
fn lacks(status: LandlockStatus) -> Option<String> {
    let LandlockStatus::Available { effective_abi, .. } = status else {
        return None;
    };
    let lacking: Vec<_> =
        SINCE.iter().filter(|(since, _)| *since > effective_abi).map(|(_, what)| *what).collect();
    (!lacking.is_empty())
        .then(|| format!("ABI {effective_abi} of this kernel cannot refuse {}", lacking.join(", ")))
}

/// What landlock would be here.
pub(super) fn of_this_kernel() -> Confinement {
    // The library tells a status only of what was restricted: a thread of its own is.
    let asked = std::thread::scope(|scope| scope.spawn(|| Reach::default().enter()).join().ok());
    asked.unwrap_or_else(|| Confinement::absent("the thread that asked for it panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_landlock_cannot_refuse_is_named_and_a_new_one_lacks_nothing() {
        let of =
            |effective_abi| lacks(LandlockStatus::Available { effective_abi, kernel_abi: None });
        let old = of(ABI::V3).unwrap();
        assert!(old.contains("ABI 3") && old.contains("TCP") && !old.contains("cutting"), "{old}");
        assert_eq!(of(NEWEST), None);
        assert_eq!(absence(LandlockStatus::NotEnabled), OFF);
        assert_eq!(absence(LandlockStatus::NotImplemented), NONE);
    }

    #[test]
    fn no_place_lets_anything_be_executed_or_made_but_plain_files() {
        for access in [Access::Read, Access::List, Access::Write, Access::Remove] {
            let others = AccessFs::from_all(NEWEST)
                & !make_bitflags!(AccessFs::{
                    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile
                });
            assert!((access.rights() & others).is_empty(), "{access:?}");
        }
    }
}
