//! `cargo xtask image`: an OCI image of static programs, for registries and container runtimes: the program, the folders
//! that it expects, and nothing else.
//!
//! Five small JSON documents of the image format, version 1.1 (opencontainers/image-spec): a library for them would bring
//! thirty crates.

use super::elf::is_static;
use crate::{
    command::{announced, new, said},
    outcome::talk,
    place,
};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What is in the image beside the program, with its mode: folders that volumes are mounted on, or that it writes.
const FOLDERS: [(&str, u32); 5] = [
    ("etc/keepwatch", 0o755),
    ("host", 0o755),
    ("run/keepwatch", 0o755),
    ("usr/bin", 0o755),
    ("var/lib/keepwatch", 0o750),
];
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
/// For files that were made under the umask of this process.
const ANY_UMASK: &str = "--mode=u=rwX,go=rX";
const OCI: &str = "application/vnd.oci.image";

/// Packs static programs into an OCI image below target/image: a layout, and the same as one file.
#[derive(clap::Args)]
pub(crate) struct ImageOptions {
    /// A static `keepwatch`, as `cargo xtask dist` builds it; repeat it for another architecture.
    #[arg(long, required = true)]
    program: Vec<PathBuf>,
}

pub(crate) fn run(options: &ImageOptions) -> Result<ExitCode> {
    let folder = place::root().join("target/image");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    let layout = ImageLayout { folder: folder.join("oci") };
    fs::create_dir_all(layout.blobs()).with_context(|| format!("make {}", folder.display()))?;
    let mut manifests = Vec::new();
    for program in &options.program {
        manifests.push(manifest(&layout, program, &folder.join("root"))?);
    }
    let version = env!("CARGO_PKG_VERSION");
    let of_all = json!({"schemaVersion": 2, "mediaType": format!("{OCI}.index.v1+json"), "manifests": manifests});
    let image = layout.document("index", &of_all)?;
    let named = ("annotations", json!({"org.opencontainers.image.ref.name": version}));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": format!("{OCI}.index.v1+json"),
        "manifests": [image.described([named])],
    });
    write(&layout.folder.join("index.json"), &index.to_string())?;
    write(&layout.folder.join("oci-layout"), &json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    let archive = folder.join(format!("keepwatch-{version}.oci.tar"));
    pack(&layout.folder, &archive, &[ANY_UMASK])?;
    talk(format_args!(
        "{}: {}, for {} architecture(s)",
        archive.strip_prefix(place::root()).unwrap_or(&archive).display(),
        image.digest,
        manifests.len()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Writes layer, config and manifest of one program, and returns what the index says of it.
fn manifest(layout: &ImageLayout, program: &Path, root: &Path) -> Result<Value> {
    let bytes = fs::read(program).with_context(|| {
        format!("read {}; help: `cargo xtask dist` builds it", program.display())
    })?;
    if !is_static(&bytes) {
        bail!(
            "{} is not static, and the image has no libraries; help: take the one that `cargo xtask dist` builds",
            program.display()
        );
    }
    let architecture = architecture(&bytes).with_context(|| {
        format!("{} is for another machine than x86-64 or arm64", program.display())
    })?;
    lay_out(program, root)?;
    let layer = layout.folder.join("layer");
    pack(root, &layer, &[])?;
    let layer = layout.take(&layer, "layer.v1.tar")?;
    let config = layout.document("config", &config(architecture, &layer.digest))?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": format!("{OCI}.manifest.v1+json"),
        "config": config.described([]),
        "layers": [layer.described([])],
        "annotations": labels(),
    });
    let platform = ("platform", json!({"os": "linux", "architecture": architecture}));
    Ok(layout.document("manifest", &manifest)?.described([platform]))
}

/// What a container runtime does with it. No time: the same program makes the same image.
fn config(architecture: &str, layer: &str) -> Value {
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": "0:0",
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/keepwatch"],
            "Cmd": ["run"],
            "WorkingDir": "/",
            "ExposedPorts": {"10077/tcp": {}},
            "Labels": labels(),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created_by": "cargo xtask image"}],
    })
}

fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": "keepwatch",
        "org.opencontainers.image.description": "Will this TCP connection survive being quiet, and if it died, why?",
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
    })
}

/// What an ELF file's machine is called in images (Go's name of it).
fn architecture(elf: &[u8]) -> Option<&'static str> {
    match elf.get(18..20)? {
        [62, 0] => Some("amd64"),
        [183, 0] => Some("arm64"),
        _ => None,
    }
}

/// The root of a container, with modes that no umask changes.
fn lay_out(program: &Path, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("clear {}", root.display()))?;
    }
    for (folder, _) in FOLDERS {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    copy(program, &root.join("usr/bin/keepwatch"), 0o755)?;
    for licence in LICENCES {
        copy(&place::root().join(licence), &root.join(licence), 0o644)?;
    }
    let above = FOLDERS.iter().flat_map(|(folder, _)| Path::new(folder).ancestors().skip(1));
    let above = above.map(|folder| (root.join(folder), 0o755));
    for (folder, mode) in above.chain(FOLDERS.map(|(folder, mode)| (root.join(folder), mode))) {
        set_mode(&folder, mode)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    set_mode(to, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Packs a folder's contents: the same bytes, whoever packs them, and whenever.
fn pack(folder: &Path, archive: &Path, more: &[&str]) -> Result<()> {
    let mut tar = new("tar");
    tar.args([
        "--sort=name",
        "--format=gnu",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "-C",
    ]);
    tar.arg(folder).args(more).arg("-cf").arg(archive).arg(".");
    announced(tar.env("LC_ALL", "C"), "tar is part of every system")
}

/// An OCI image layout: blobs by their digest.
struct ImageLayout {
    folder: PathBuf,
}

impl ImageLayout {
    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs/sha256")
    }

    /// Keeps a JSON document.
    fn document(&self, kind: &str, document: &Value) -> Result<Blob> {
        let path = self.folder.join(kind);
        write(&path, &document.to_string())?;
        self.take(&path, &format!("{kind}.v1+json"))
    }

    /// Moves a file to the blobs.
    fn take(&self, path: &Path, kind: &str) -> Result<Blob> {
        let sum = said(new("sha256sum").arg(path), "it is of coreutils")?;
        let sum = sum.split_whitespace().next().context("sha256sum printed nothing")?.to_owned();
        let size = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.len();
        let blob = self.blobs().join(&sum);
        fs::rename(path, &blob).with_context(|| format!("move it to {}", blob.display()))?;
        Ok(Blob { kind: format!("{OCI}.{kind}"), digest: format!("sha256:{sum}"), size })
    }
}

/// What a layout holds.
struct Blob {
    kind: String,
    digest: String,
    size: u64,
}

impl Blob {
    /// As one document names another, with more said of it.
    fn described<const N: usize>(&self, more: [(&str, Value); N]) -> Value {
        let Self { kind, digest, size } = self;
        let always = [("mediaType", json!(kind)), ("digest", json!(digest)), ("size", json!(size))];
        always.into_iter().chain(more).map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{ANY_UMASK, ImageLayout, architecture, config, lay_out, manifest, pack};
    use serde_json::{Value, json};
    use std::{
        env, fs,
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
    };

    struct TrialFolder(PathBuf);

    impl TrialFolder {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("xtask-image-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("oci/blobs/sha256")).unwrap();
            Self(path)
        }

        fn layout(&self) -> ImageLayout {
            ImageLayout { folder: self.0.join("oci") }
        }
    }

    impl Drop for TrialFolder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    /// The header of a program, and one segment that is to be loaded, or that names an interpreter.
    fn program(folder: &TrialFolder, machine: u8, segment: u8) -> PathBuf {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[18], elf[32], elf[54], elf[56], elf[64]) = (machine, 64, 56, 1, segment);
        let path = folder.0.join(format!("program-{machine}-{segment}"));
        fs::write(&path, elf).unwrap();
        path
    }

    fn blob(layout: &ImageLayout, descriptor: &Value) -> Vec<u8> {
        let sum = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let blob = fs::read(layout.blobs().join(sum)).unwrap();
        assert_eq!(descriptor["size"], blob.len());
        blob
    }

    fn document(layout: &ImageLayout, descriptor: &Value) -> Value {
        serde_json::from_slice(&blob(layout, descriptor)).unwrap()
    }

    #[test]
    fn a_manifest_leads_to_the_config_and_to_the_layer_that_holds_the_program() {
        let folder = TrialFolder::new("manifest");
        let (layout, root) = (folder.layout(), folder.0.join("root"));
        for (machine, name) in [(62, "amd64"), (183, "arm64")] {
            let program = program(&folder, machine, 1);
            let found = manifest(&layout, &program, &root).unwrap();
            assert_eq!(found["platform"], json!({"os": "linux", "architecture": name}));
            let manifest = document(&layout, &found);
            let [layer] = manifest["layers"].as_array().unwrap().as_slice() else {
                panic!("{manifest}")
            };
            let config = document(&layout, &manifest["config"]);
            assert_eq!(config["rootfs"]["diff_ids"], json!([layer["digest"]]));
            assert_eq!(config["architecture"], name);
            let held = fs::read(&program).unwrap();
            let layer = blob(&layout, layer);
            assert!(layer.windows(held.len()).any(|part| part == held));
        }
    }

    #[test]
    fn a_program_that_needs_libraries_or_another_machine_is_refused() {
        let folder = TrialFolder::new("refused");
        let refused = |machine, segment| {
            let program = program(&folder, machine, segment);
            manifest(&folder.layout(), &program, &folder.0.join("root")).unwrap_err().to_string()
        };
        assert!(refused(62, 3).contains("not static"));
        assert!(refused(40, 1).contains("another machine"));
        assert_eq!(architecture(b"\x7fELF"), None);
    }

    #[test]
    fn the_same_files_make_the_same_archive_at_another_time_under_another_umask() {
        let folder = TrialFolder::new("same");
        let program = program(&folder, 62, 1);
        let packed = |name: &str| {
            let (root, archive) = (folder.0.join(name), folder.0.join(format!("{name}.tar")));
            lay_out(&program, &root).unwrap();
            (root, archive)
        };
        let ((one, first), (other, second)) = (packed("one"), packed("other"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&one.join("var/lib/keepwatch")), 0o750);
        assert_eq!(mode(&one.join("usr/bin/keepwatch")), 0o755);
        assert_eq!(mode(&one), 0o755);
        let old = fs::File::open(other.join("usr/bin")).unwrap();
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let same = |more: &[&str]| {
            pack(&one, &first, more).unwrap();
            pack(&other, &second, more).unwrap();
            fs::read(&first).unwrap() == fs::read(&second).unwrap()
        };
        assert!(same(&[]));
        let secret = fs::Permissions::from_mode(0o600);
        fs::set_permissions(other.join("LICENSE-MIT"), secret).unwrap();
        assert!(!same(&[]), "modes of a container's root count");
        assert!(same(&[ANY_UMASK]));
    }

    #[test]
    fn a_container_runs_the_agent_and_finds_the_command_by_its_name() {
        let config = config("amd64", "sha256:0");
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/keepwatch"]));
        assert_eq!(config["config"]["Cmd"], json!(["run"]));
        assert_eq!(config["config"]["Env"], json!(["PATH=/usr/bin"]));
    }
}
