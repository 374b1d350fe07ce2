//! `pictures [ADDRESS]`: draws every dashboard into `docs/pictures`, from the Prometheus at this
//! address over the last six hours, or from a made-up fleet. Needs chromium, and looks best with the
//! font Inter.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a developer's tool: its output is its purpose, and what fails ends it"
)]

use keepwatch_tests::{
    dashboards::{
        fleet,
        mixin::{self, Mixin},
        picture::{self, Scene},
        prometheus::Prometheus,
    },
    tool::TemporaryFolder,
};
use std::{fs, net::SocketAddr, path::Path, process::Command, time::SystemTime};

const MADE_UP: &str =
    "Drawn by `cargo xtask pictures` from the answers of a real Prometheus. The fleet is made up.";
const REAL: &str = "Drawn by `cargo xtask pictures` from the answers of a real Prometheus.";

fn main() {
    let given =
        std::env::args().nth(1).map(|address| address.parse::<SocketAddr>().expect("ADDRESS:PORT"));
    let made_up = given.is_none().then(|| {
        let folder = TemporaryFolder::new();
        fleet::write_into(&folder);
        Prometheus::in_folder(folder)
    });
    let (prometheus, end, note) = match (given, &made_up) {
        (Some(prometheus), _) => (prometheus, now(), REAL),
        (None, made_up) => {
            let made_up = made_up.as_ref().expect("just made up");
            (made_up.address(), fleet::END, MADE_UP)
        }
    };
    let pictures = mixin::folder().join("../docs/pictures");
    fs::create_dir_all(&pictures).expect("docs/pictures");
    for (file, board) in &Mixin::shipped().dashboards {
        let chosen = if made_up.is_some() { fleet::chosen(&board.uid) } else { &[] };
        let scene = Scene { prometheus, end, seconds: fleet::SECONDS, chosen };
        let (html, height) = picture::page(board, &scene, note);
        let picture = pictures.join(file.replace(".json", ".png"));
        photograph(&html, height, &picture);
        println!("{}", picture.display());
    }
    drop(made_up);
}

/// What a browser shows of a page.
fn photograph(html: &str, height: f64, picture: &Path) {
    let folder = TemporaryFolder::new();
    let page = folder.file("page.html");
    fs::write(&page, html).expect("write a page");
    let status = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--log-level=3"])
        .arg(format!("--user-data-dir={}", folder.file("profile").display()))
        .arg(format!("--window-size={:.0},{height:.0}", picture::WIDTH))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(&page)
        .output()
        .expect("chromium: `apt-get install chromium fonts-inter`")
        .status;
    assert!(status.success() && picture.is_file(), "chromium: {status}");
}

#[expect(clippy::disallowed_methods, reason = "pictures of now")]
fn now() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u32::try_from(since.as_secs()).expect("before 2106")
}
