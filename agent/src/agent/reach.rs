//! The paths that the agent needs once it runs.

use crate::{
    kernel::sandbox::{Access, Reach},
    owner,
};
use std::path::{Path, PathBuf};

/// Reads what it shows, writes its history, removes its socket at the end. Of files that it reads again (`read`: its config)
/// the folders count, for an editor makes a new file; so do those of the files that links lead to.
pub fn of_agent(read: &[PathBuf], socket: &Path, state: &Path, host: &Path) -> Reach {
    let mut reach = Reach::of_any_agent();
    owner::reach(host, &mut reach);
    for file in read {
        reach.add(folder_of(file), Access::Read);
        if let Ok(real) = file.canonicalize() {
            reach.add(folder_of(&real), Access::Read);
        }
    }
    reach.add(state, Access::Write);
    reach.add(folder_of(socket), Access::Remove);
    reach
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_folder_is_in_the_working_one() {
        assert_eq!(folder_of(Path::new("k.sock")), Path::new("."));
        assert_eq!(folder_of(Path::new("/run/k.sock")), Path::new("/run"));
    }
}
