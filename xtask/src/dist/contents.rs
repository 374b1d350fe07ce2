//! What is handed out: each file with its place in the archive and on a system.

use crate::{
    command::{announced, checked, new, said},
    place,
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// How files are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileLayout {
    /// In one folder, to be unpacked anywhere.
    Archive,
    /// In the folders of Debian.
    Debian,
    /// In those of the systems that have rpm.
    Rpm,
}

/// A file to hand out.
#[derive(Clone, Debug)]
pub(super) struct Item {
    from: PathBuf,
    archive: String,
    system: String,
    /// Where Debian has a folder of its own for it.
    debian: Option<String>,
    mode: u32,
}

impl Item {
    /// For everybody to read, at one place in an archive and at one on every system.
    fn new(from: PathBuf, archive: impl Into<String>, system: impl Into<String>) -> Self {
        let (archive, system) = (archive.into(), system.into());
        Self { from, archive, system, debian: None, mode: 0o644 }
    }

    pub(super) fn program(from: &Path) -> Self {
        Self { mode: 0o755, ..Self::new(from.into(), "keepwatch", "usr/bin/keepwatch") }
    }

    pub(super) fn bill_of_materials(from: PathBuf) -> Self {
        Self::new(from, "keepwatch.cdx.json", format!("{DOC}/keepwatch.cdx.json"))
    }

    /// The same, but for the config file, which is this one.
    pub(super) fn with_config(self, file: &Path) -> Self {
        if self.archive == "config.toml" { Self { from: file.into(), ..self } } else { self }
    }

    /// Its path within the root of a layout.
    fn place(&self, layout: FileLayout) -> &str {
        match layout {
            FileLayout::Archive => &self.archive,
            FileLayout::Debian => self.debian.as_deref().unwrap_or(&self.system),
            FileLayout::Rpm => &self.system,
        }
    }
}

/// Copies the files to their places below a folder, which is made anew.
pub(super) fn lay_out(items: &[Item], layout: FileLayout, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    for item in items {
        let mut to = folder.join(item.place(layout));
        let is_packed = to.extension().is_some_and(|extension| extension == "gz");
        if is_packed {
            to.set_extension("");
        }
        make(to.parent().unwrap_or(folder))?;
        fs::copy(&item.from, &to)
            .with_context(|| format!("copy {} to {}", item.from.display(), to.display()))?;
        set_mode(&to, item.mode)?;
        if is_packed {
            checked(new("gzip").arg("-9n").arg(&to), "it is part of every system")?;
        }
    }
    for path in folders_below(folder)? {
        // Whatever the umask is.
        set_mode(&path, 0o755)?;
    }
    Ok(())
}

/// Makes a folder and those above it.
pub(super) fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

fn folders_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.is_dir() {
            folders.extend(folders_below(&path)?);
        }
    }
    Ok(folders)
}

/// Where documents are on a system.
const DOC: &str = "usr/share/doc/keepwatch";
/// Where dashboards and manifests are.
const SHARE: &str = "usr/share/keepwatch";
const UNITS: [&str; 4] = [
    "keepwatch.service",
    "keepwatch-fix.service",
    "keepwatch-verify.service",
    "keepwatch-verify.timer",
];
/// The users of the units, for systemd-sysusers.
const USERS: &str = "keepwatch.sysusers";
const DOCUMENTS: [&str; 5] =
    ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "SECURITY.md"];
/// What each shell calls its file, and the folder in which it looks.
const COMPLETIONS: [(&str, &str, &str); 3] = [
    ("bash", "keepwatch", "usr/share/bash-completion/completions"),
    ("fish", "keepwatch.fish", "usr/share/fish/vendor_completions.d"),
    ("zsh", "_keepwatch", "usr/share/zsh/site-functions"),
];
/// Where zsh looks on Debian.
const DEBIAN_ZSH: &str = "usr/share/zsh/vendor-completions/_keepwatch";

/// What is in the workspace.
pub(super) fn of_workspace() -> Result<Vec<Item>> {
    let root = place::root();
    let mut items = vec![
        Item::new(root.join("deploy/config.toml"), "config.toml", "etc/keepwatch/config.toml"),
        Item::new(root.join("deploy/packages/copyright"), "copyright", format!("{DOC}/copyright")),
    ];
    items.push(Item::new(
        root.join("deploy").join(USERS),
        format!("deploy/{USERS}"),
        "usr/lib/sysusers.d/keepwatch.conf",
    ));
    for unit in UNITS {
        let system = format!("usr/lib/systemd/system/{unit}");
        items.push(Item::new(root.join("deploy").join(unit), format!("deploy/{unit}"), system));
    }
    for name in DOCUMENTS {
        items.push(Item::new(root.join(name), name, format!("{DOC}/{name}")));
    }
    // Links between documents hold: folders are named as in the workspace.
    for (folder, system) in [("docs", DOC), ("dashboards", SHARE), ("deploy/kubernetes", SHARE)] {
        for from in place::files_below(&root.join(folder))? {
            let within = from.strip_prefix(&root).context("a file of the workspace")?;
            let name = within.to_str().context("a name in the workspace is no text")?.to_owned();
            if folder != "dashboards" || is_for_operators(within) {
                items.push(Item::new(from, name.clone(), format!("{system}/{name}")));
            }
        }
    }
    Ok(items)
}

/// Of the dashboards what goes into Grafana and Prometheus, not what it is made from.
fn is_for_operators(file: &Path) -> bool {
    let kind = file.extension().and_then(|kind| kind.to_str());
    let is_tool = file.starts_with("dashboards/tests") || file.ends_with("jsonnetfile.json");
    !is_tool && matches!(kind, Some("md" | "yml" | "yaml" | "json"))
}

/// What the program writes of itself, below a folder: man pages and completions.
pub(super) fn written_by(program: &Path, folder: &Path) -> Result<Vec<Item>> {
    let man = folder.join("man");
    make(&man)?;
    announced(new(program).arg("man").arg(&man), "it writes its man pages")?;
    let mut items = Vec::new();
    for page in place::files_below(&man)? {
        let name = page.file_name().and_then(|name| name.to_str());
        let name = name.context("a man page has a name")?.to_owned();
        let system = format!("usr/share/man/man1/{name}.gz");
        items.push(Item::new(page, format!("man/man1/{name}"), system));
    }
    for (shell, name, system) in COMPLETIONS {
        let script = said(new(program).args(["completions", shell]), "it prints completions")?;
        let path = folder.join(format!("completions-{shell}"));
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        let archive = format!("completions/{shell}/{name}");
        let mut item = Item::new(path, archive, format!("{system}/{name}"));
        item.debian = (shell == "zsh").then(|| DEBIAN_ZSH.into());
        items.push(item);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::{FileLayout, Item, UNITS, USERS, is_for_operators, lay_out, of_workspace};
    use crate::place;
    use std::{collections::BTreeSet, env, fs, os::unix::fs::PermissionsExt as _, path::Path};

    #[test]
    fn every_file_of_the_workspace_that_is_handed_out_is_there_and_has_a_place_of_its_own() {
        let items = of_workspace().expect("the workspace");
        for item in &items {
            assert!(item.from.is_file(), "{}", item.from.display());
        }
        for layout in [FileLayout::Archive, FileLayout::Debian, FileLayout::Rpm] {
            let places: BTreeSet<_> = items.iter().map(|item| item.place(layout)).collect();
            assert_eq!(places.len(), items.len());
            assert!(places.iter().any(|place| place.ends_with("docs/RUNBOOK.md")));
            assert!(places.iter().any(|place| place.ends_with("dashboards/generated/alerts.yml")));
            let base = "deploy/kubernetes/base/daemon-set.yaml";
            assert!(places.iter().any(|place| place.ends_with(base)));
            assert!(!places.iter().any(|place| place.contains("libsonnet")), "{places:?}");
        }
    }

    #[test]
    fn each_service_has_a_user_of_its_own_which_sysusers_makes() {
        let read = |name| fs::read_to_string(place::root().join("deploy").join(name)).expect(name);
        let made = read(USERS);
        let made: Vec<_> = made.lines().filter_map(|line| line.strip_prefix("u ")).collect();
        let made: BTreeSet<_> =
            made.iter().filter_map(|line| line.split_whitespace().next()).collect();
        let services = UNITS.into_iter().filter(|unit| unit.ends_with(".service"));
        let units: Vec<_> = services.map(read).collect();
        let users: Vec<_> = units
            .iter()
            .filter_map(|unit| unit.lines().find_map(|line| line.strip_prefix("User=")))
            .collect();
        assert_eq!(users.len(), units.len(), "{users:?}");
        assert_eq!(users.iter().copied().collect::<BTreeSet<_>>(), made, "{users:?}");
        assert_eq!(made.len(), units.len());
    }

    #[test]
    fn what_dashboards_are_made_from_stays_at_home() {
        for (file, is) in [
            ("dashboards/generated/node.json", true),
            ("dashboards/README.md", true),
            ("dashboards/kustomization.yaml", true),
            ("dashboards/tests/alerts.yml", false),
            ("dashboards/jsonnetfile.json", false),
            ("dashboards/boards/node.libsonnet", false),
        ] {
            assert_eq!(is_for_operators(Path::new(file)), is, "{file}");
        }
    }

    #[test]
    fn files_have_their_own_modes_and_manuals_are_packed_on_a_system_only() {
        let folder = env::temp_dir().join(format!("xtask-contents-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let page = folder.join("page");
        fs::write(&page, ".TH").expect("a page");
        let items =
            [Item::program(&page), Item::new(page, "man/man1/a.1", "usr/share/man/man1/a.1.gz")];
        let mode = |path: &str| {
            fs::metadata(folder.join(path)).map(|file| file.permissions().mode() & 0o777).ok()
        };
        lay_out(&items, FileLayout::Archive, &folder.join("archive")).expect("an archive");
        lay_out(&items, FileLayout::Debian, &folder.join("debian")).expect("a root");
        let modes = [
            "archive/keepwatch",
            "archive/man/man1/a.1",
            "debian/usr/bin/keepwatch",
            "debian/usr/share/man/man1/a.1.gz",
            "debian/usr/share/man/man1/a.1",
            "debian/usr",
        ]
        .map(mode);
        fs::remove_dir_all(&folder).expect("our folder");
        let expected = [Some(0o755), Some(0o644), Some(0o755), Some(0o644), None, Some(0o755)];
        assert_eq!(modes, expected);
    }
}
