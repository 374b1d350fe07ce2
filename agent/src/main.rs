//! scratch
use keepwatch::{kernel::{hooks::{Hooks, Scope}, clock}, model::event::Event};
fn main() {
    let t0 = clock::now();
    let c0 = clock::cpu_seconds();
    let mut hooks = Hooks::load(Scope::Snapshot).map_err(|e| format!("{e:#?}")).unwrap();
    eprintln!("load {} ms {:?} cpu {}", clock::now().ms_since(t0), hooks.status(), clock::cpu_seconds()-c0);
    let c0 = clock::cpu_seconds();
    let mut snap = hooks.snapshot().unwrap();
    let mut n = 0;
    while snap.read(|e| { n += 1; if n < 5 { println!("{e:?}") } }).unwrap() {}
    eprintln!("{n} cpu {}", clock::cpu_seconds()-c0);
}
