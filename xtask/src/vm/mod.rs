//! `cargo xtask vm`: the kernel's tests on every kernel that users run, in guests.

mod build;
mod document;
pub(crate) mod guest;
pub(crate) mod initramfs;
pub(crate) mod kernel;
mod module;
mod programs;
mod report;
mod suite;
mod table;

use crate::{
    architecture::Architecture,
    outcome::talk,
    purpose::Purpose,
    setup,
    test::{conclude, libtest::TestOutcome, say, summary::Summary},
};
use anyhow::{Context as _, Result, bail};
use document::Freshness;
use initramfs::Archive;
use kernel::{GuestKernel, kernels};
use report::{GuestReport, SuiteRun};
use std::{cmp::Reverse, process::ExitCode, sync::Mutex, thread};
use suite::{Breadth, SUITES, Suite};
use table::{KernelColumn, PlannedRun, ResultTable};

/// Guests at the same time. Each takes one processor when it works; with more than this, two processors are too slow for what
/// tests say of times.
const N_GUESTS: usize = 2;

/// Boots kernels, runs the tests on each with every mechanism that it has, and shows a table.
#[derive(Default, clap::Args)]
pub(crate) struct VmOptions {
    /// On kernels of this architecture. Without it: of this machine's.
    #[arg(long)]
    arch: Option<Architecture>,
    /// Only these kernels, for example `6.12`.
    #[arg(long)]
    kernel: Vec<String>,
    /// Only this suite, or tests with this in their name.
    #[arg(long)]
    test: Option<String>,
    /// Only with this mechanism.
    #[arg(long, value_parser = suite::MECHANISMS)]
    hooks: Option<String>,
    /// As CI does it: each kernel forces one mechanism, and what shows no hooks runs on the oldest or the newest only.
    #[arg(long, conflicts_with_all = ["bless", "hooks"])]
    brief: bool,
    /// Write what was shown to docs/KERNELS.md.
    #[arg(long, conflicts_with_all = ["kernel", "test", "hooks"])]
    bless: bool,
}

impl VmOptions {
    /// What CI has time for.
    pub(crate) fn in_brief() -> Self {
        Self { brief: true, ..Self::default() }
    }
}

pub(crate) fn run(options: &VmOptions) -> Result<ExitCode> {
    conclude(&all(options)?)
}

/// Everything; the table is shown, the sum is returned.
pub(crate) fn all(options: &VmOptions) -> Result<Summary> {
    let VmOptions { arch, kernel, test, hooks, brief, bless } = options;
    let architecture = arch.unwrap_or_else(Architecture::own);
    prepare(architecture)?;
    let of_architecture = kernels(architecture);
    let mut kernels: Vec<&'static GuestKernel> = of_architecture
        .iter()
        .filter(|one| kernel.is_empty() || kernel.iter().any(|name| *name == one.series))
        .collect();
    if kernels.is_empty() {
        let known: Vec<_> = of_architecture.iter().map(|kernel| kernel.series).collect();
        let known = known.join(", ");
        bail!("no such kernel; help: there are {known}");
    }
    let named =
        SUITES.iter().filter(|suite| test.as_deref() == Some(suite.name)).collect::<Vec<_>>();
    let filter = test.as_deref().filter(|_| named.is_empty());
    let suites: Vec<&'static Suite> =
        if named.is_empty() { SUITES.iter().collect() } else { named };

    let base = build::base(architecture, &suites, &["crowd", "sandboxed"])?;
    let breadth = match hooks {
        _ if *brief => Breadth::Brief,
        Some(mechanism) => Breadth::Only(mechanism),
        None => Breadth::All,
    };
    let planned = |kernel: &GuestKernel| -> Vec<PlannedRun> {
        let of = |suite: &&'static Suite| {
            let suite = *suite;
            suite.planned(kernel, breadth).map(move |mechanism| PlannedRun { suite, mechanism })
        };
        suites.iter().flat_map(of).collect()
    };
    // The longest first, so that the last does not run alone.
    kernels.sort_by_key(|kernel| Reverse(planned(kernel).len()));
    let queue = Mutex::new(kernels.into_iter());
    let columns = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let next = queue.lock().map_or(None, |mut queue| queue.next());
            let Some(kernel) = next else {
                return Ok(());
            };
            let planned = planned(kernel);
            let plan = plan(&planned, filter);
            let report = boot(kernel, base.clone(), &plan, |run| show(kernel.series, run))?;
            if let Ok(mut columns) = columns.lock() {
                columns.push(KernelColumn { series: kernel.series, planned, report });
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..N_GUESTS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| bail!("a thread that boots a guest panicked"))
        })
    })?;
    let mut columns = columns.into_inner().unwrap_or_default();
    columns.sort_by_key(|column| {
        of_architecture.iter().position(|kernel| kernel.series == column.series)
    });
    let table = ResultTable::of(&columns, &suites);
    say(&format!("\n{}\n{}\n", table.markdown(), table::legend()))?;
    for KernelColumn { series, report, .. } in &columns {
        for error in &report.errors {
            talk(format_args!("vm {series}: {error}"));
        }
    }
    for failure in table.failures() {
        talk(format_args!("failed: {failure}"));
    }
    if kernel.is_empty() && test.is_none() && hooks.is_none() && !brief {
        document(architecture, &document::part(architecture, &columns, &table), *bless)?;
    }
    let mut sum = table.sum();
    match filter {
        None => {
            let empty = table.without_tests().map(|suite| format!("{suite} has no tests"));
            sum.broken.extend(empty);
        }
        Some(filter) if sum == Summary::default() => {
            sum.broken.push(format!("no test of a guest has `{filter}` in its name"));
        }
        Some(_) => {}
    }
    Ok(sum)
}

/// Says when docs/KERNELS.md is not what was shown, or makes it so. It is a record of one run: a
/// different later result is reported, and only a failed test fails.
fn document(architecture: Architecture, part: &str, bless: bool) -> Result<()> {
    let freshness = document::freshness(architecture, part);
    match freshness {
        Freshness::Fresh => {}
        _ if bless => document::write(architecture, part)?,
        Freshness::OtherVersions => {
            talk(format_args!("docs/KERNELS.md is of other versions: `cargo xtask vm --bless`"));
        }
        Freshness::Stale => {
            talk(format_args!(
                "docs/KERNELS.md is not what the guests showed; help: run `cargo xtask vm --bless` \
                 and commit what it wrote, if that is as it should be"
            ));
        }
    }
    Ok(())
}

/// What the guest does once its modules are loaded.
fn plan(planned: &[PlannedRun], filter: Option<&str>) -> String {
    let mut plan = "ready\n".to_owned();
    for PlannedRun { suite, mechanism } in planned {
        let Suite { name, n_threads, without, .. } = suite;
        let without = without.map(|name| format!("--skip {name}")).unwrap_or_default();
        let filter = filter.unwrap_or_default();
        plan += &format!("run {name} {mechanism} --test-threads={n_threads} {without} {filter}\n");
    }
    plan
}

/// Gets what guests of an architecture need.
fn prepare(architecture: Architecture) -> Result<()> {
    if !architecture.is_foreign() {
        return setup::prepare(Purpose::Guests);
    }
    setup::prepare(Purpose::Build)?;
    setup::prepare_tools(Purpose::ForeignGuests)?;
    setup::prepare_target(architecture)?;
    kernel::fetch(architecture)
}

/// What `bench ARGS` says in a guest, and whether it succeeded.
pub(crate) fn bench(series: &str, args: &str) -> Result<(Vec<String>, bool)> {
    let architecture = Architecture::own();
    prepare(architecture)?;
    let kernel = kernel::kernel(architecture, series).context("no such kernel")?;
    let base = build::base(architecture, &[], &["bench"])?;
    let report = boot(kernel, base, &format!("bench {args}\n"), |_| {})?;
    let run = report.runs.into_iter().next().context("the guest ran no benchmark")?;
    Ok((run.output, run.success))
}

fn boot(
    kernel: &'static GuestKernel,
    mut archive: Archive,
    plan: &str,
    ended: impl Fn(&SuiteRun),
) -> Result<GuestReport> {
    let mut loads = String::new();
    for module in kernel.modules()? {
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.copy(&format!("/modules/{name}"), &module)?;
        loads += &format!("module /modules/{name}\n");
    }
    archive.add("/plan", format!("{loads}{plan}").as_bytes());
    guest::boot(kernel, &archive.finished(), ended)
        .with_context(|| format!("kernel {}", kernel.series))
}

/// A line for a suite that ended; all of its output if it failed.
fn show(series: &str, run: &SuiteRun) {
    let n = |wanted: fn(&TestOutcome) -> bool| run.tests.values().filter(|one| wanted(one)).count();
    let passed = n(|outcome| *outcome == TestOutcome::Passed);
    let failed = n(|outcome| *outcome == TestOutcome::Failed);
    let partly = n(|outcome| matches!(outcome, TestOutcome::Skipped(_)));
    let SuiteRun { suite, mechanism, seconds, output, broken, .. } = run;
    if !run.success {
        talk(format_args!("vm {series} {mechanism} {suite} said:\n{}", output.join("\n")));
    }
    talk(format_args!(
        "vm {series:4} {mechanism:10} {suite}: {passed} passed, {failed} failed, {partly} partly, \
         in {seconds:.1} s"
    ));
    if let Some(how) = broken {
        talk(format_args!("vm {series:4} {mechanism:10} {suite}: broke off: {how}"));
    }
}
