//! What somebody sees, and what keys do: on a screen that is not there.

use super::{
    feed::{Answer, Origin},
    paint,
    theme::Theme,
    view::{Effect, Mode, View},
};
use crate::{
    command::{socket_text::Size, table::width},
    model::{
        judgement::{
            idle_limit::{IdleLimit, Limits},
            verdict::{Surroundings, Verdict},
        },
        observed::{
            setting::OwnSettings,
            socket::{Comm, Owner, Socket, SocketId, tests_support::socket},
        },
    },
    view::{
        order::Sort,
        page::{Page, PageBuilder, PageRequest},
    },
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::{Buffer, Cell},
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::{Color, Modifier},
};
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(2);

fn around() -> Surroundings {
    let limits = Limits::new(Vec::new(), IdleLimit::default(), false);
    Surroundings::new(limits, 250)
}

/// Number n has been quiet for n tenths of a second, n up to 5,000: those from 3,501 on are overdue.
/// Every tenth is protected, and the peers of five of these have not answered three probes.
fn crowd() -> Vec<Socket> {
    let name = "数据库\x1b[2J".as_bytes();
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    let of = |n: u32| {
        let is_protected = n.is_multiple_of(10);
        let own =
            OwnSettings { idle_seconds: 60, interval_seconds: 10, count: 5, user_timeout_ms: 0 };
        Socket {
            id: SocketId(n.into()),
            quiet_ms: if is_protected { 30_000 } else { n * 100 },
            received_ms: 30_000,
            owner: Some(Owner { pid: 4_000_000, fd: Some(3), comm: Comm::new(comm) }),
            keepalive: is_protected,
            own: if is_protected { own } else { OwnSettings::default() },
            timer_ms: is_protected.then_some(5_000),
            probes_unanswered: if n.is_multiple_of(1_000) { 3 } else { 0 },
            ..socket()
        }
    };
    (1..=5_000).map(of).collect()
}

fn answered(view: &View, sockets: &[Socket]) -> Answer {
    let (wish, around) = (view.wish(), around());
    let page = {
        let mut picker = PageBuilder::new(&wish);
        for socket in sockets
            .iter()
            .filter(|socket| wish.filter.admits(socket, &around, socket.quiet_ms.into()))
        {
            picker.offer(socket, socket.owner.as_slice(), None, &around, socket.at);
        }
        picker.page()
    };
    let timeline = wish.id.as_ref().map(|_| Vec::new());
    Answer { origin: Origin::Agent(Some(812)), wish, page: Ok(page), timeline, cost: PAUSE }
}

/// Somebody who looks at a crowd.
struct Somebody {
    view: View,
    sockets: Vec<Socket>,
}

impl Somebody {
    fn at(columns: usize, lines: usize) -> Self {
        let view = View::new(PageRequest::default(), Some(Size { columns, lines }));
        let mut somebody = Self { view, sockets: crowd() };
        somebody.look();
        somebody
    }

    /// Asks until nothing more is asked for.
    fn look(&mut self) {
        for _ in 0..3 {
            let answer = answered(&self.view, &self.sockets);
            if self.view.take(answer, PAUSE) == Effect::Nothing {
                return;
            }
        }
        panic!("it asks again and again");
    }

    fn press(&mut self, code: KeyCode) -> Effect {
        let effect = self.view.key(KeyEvent::new(code, KeyModifiers::NONE));
        if effect == Effect::Ask {
            self.look();
        }
        effect
    }

    fn types(&mut self, text: &str) {
        for letter in text.chars() {
            self.press(KeyCode::Char(letter));
        }
    }

    fn buffer(&self, colour: bool) -> Buffer {
        let Size { columns, lines } = self.view.size;
        let (columns, lines) = (u16::try_from(columns).unwrap(), u16::try_from(lines).unwrap());
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| paint::draw(&self.view, frame, Theme { colour })).unwrap();
        terminal.backend().buffer().clone()
    }

    fn sees(&self) -> Vec<String> {
        let buffer = self.buffer(true);
        let columns = usize::from(buffer.area.width);
        let line = |cells: &[Cell]| {
            let (mut line, mut hidden) = (String::new(), 0);
            for cell in cells {
                if hidden == 0 {
                    line.push_str(cell.symbol());
                }
                // A wide letter stands over the next cell too.
                hidden = usize::max(hidden, width(cell.symbol())).saturating_sub(1);
            }
            line.trim_end().to_owned()
        };
        buffer.content().chunks(columns).map(line).collect()
    }

    /// The ids of the rows on the screen, first the one under the cursor.
    fn under_cursor(&self) -> &str {
        self.view.row(self.view.cursor).map_or("", |row| row.id())
    }
}

#[test]
fn what_is_dropped_next_comes_first_at_either_size() {
    for (columns, lines) in [(80, 24), (200, 50)] {
        let somebody = Somebody::at(columns, lines);
        let seen = somebody.sees();
        assert_eq!(seen.len(), lines);
        assert!(seen[0].contains("as the agent sees it (process 812), every 2 s"), "{seen:#?}");
        assert!(
            seen[1].starts_with(
                "5000 connections, 5 peer_silent, 1350 overdue: 4500 off, 500 protected"
            ),
            "{}",
            seen[1]
        );
        assert!(seen[2].starts_with("by trouble, then time until dropped"), "{}", seen[2]);
        assert!(seen[3].starts_with("DROPPED IN  QUIET    VERDICT"));
        assert!(seen[4].starts_with("25s         30s      peer_silent"), "{}", seen[4]);
        assert!(seen[9].starts_with("overdue     8m19s    overdue"), "{}", seen[9]);
        assert!(seen[4].contains("172.16.0.15:2717"));
        assert!(seen[lines - 2].starts_with("overdue"), "every line is used");
        assert!(seen[lines - 1].ends_with("1/5000"));
        assert_eq!(seen[3].contains("DIRECTION"), columns == 200);
    }
}

#[test]
fn no_name_breaks_the_table() {
    let somebody = Somebody::at(200, 50);
    let seen = somebody.sees();
    let row = seen.iter().find(|line| line.starts_with("overdue")).unwrap();
    assert!(row.contains("\\u{1b}[2J[4000000]"), "{row}");
    assert!(!seen.concat().chars().any(char::is_control));
}

#[test]
fn what_is_overdue_and_what_is_silent_stand_out_with_colours_and_without() {
    let mut somebody = Somebody::at(80, 24);
    let cell = |somebody: &Somebody, colour| somebody.buffer(colour)[(21, 5)].clone();
    somebody.view.pick.sort = Sort::Quiet;
    somebody.look();
    assert_eq!(cell(&somebody, true).fg, Color::Red);
    let plain = cell(&somebody, false);
    assert_eq!(plain.fg, Color::Reset);
    assert!(plain.modifier.contains(Modifier::BOLD));
    somebody.view.pick.sort = Sort::Unanswered;
    somebody.look();
    assert!(somebody.sees()[5].contains("peer_silent"), "{:#?}", somebody.sees());
    assert_eq!(cell(&somebody, true).fg, Color::Magenta);
    assert!(cell(&somebody, false).modifier.contains(Modifier::UNDERLINED));
    for cell in somebody.buffer(false).content() {
        assert_eq!((cell.fg, cell.bg), (Color::Reset, Color::Reset));
    }
}

#[test]
fn words_are_found_as_they_are_typed() {
    let mut somebody = Somebody::at(80, 24);
    somebody.types("/overdue");
    assert_eq!(somebody.view.page.found, 1_350);
    assert!(somebody.sees()[2].contains("find: overdue  1350 found"));
    somebody.types(" q");
    assert!(somebody.sees().iter().any(|line| line.starts_with("nothing found")));
    somebody.press(KeyCode::Backspace);
    somebody.press(KeyCode::Enter);
    assert_eq!((somebody.view.mode.clone(), somebody.view.page.found), (Mode::List, 1_350));
    somebody.press(KeyCode::Esc);
    assert_eq!(somebody.view.page.found, 5_000);
}

#[test]
fn the_cursor_reaches_the_last_row_and_follows_its_connection() {
    let mut somebody = Somebody::at(80, 24);
    somebody.press(KeyCode::End);
    assert_eq!((somebody.view.cursor, somebody.under_cursor()), (4_999, "sk:137e"));
    assert!(somebody.sees()[22].starts_with('-'), "{:#?}", somebody.sees());
    somebody.press(KeyCode::Home);
    for _ in 0..30 {
        somebody.press(KeyCode::Down);
    }
    let followed = somebody.under_cursor().to_owned();
    // Those before it end.
    somebody.sockets.truncate(4_980);
    somebody.look();
    assert_eq!(somebody.under_cursor(), followed);
    assert_eq!(somebody.view.cursor, 11);
    // It ends too: the cursor stays where it is.
    somebody.sockets.retain(|socket| socket.id.to_string() != followed);
    somebody.look();
    assert_eq!(somebody.view.cursor, 11);
}

#[test]
fn a_list_that_becomes_short_is_still_shown() {
    let mut somebody = Somebody::at(80, 24);
    somebody.press(KeyCode::End);
    somebody.sockets.truncate(3);
    somebody.look();
    let seen = somebody.sees();
    assert!(seen[4].starts_with("5m49s") && seen[23].ends_with("3/3"), "{seen:#?}");
    somebody.sockets.clear();
    somebody.look();
    assert!(somebody.sees()[4].starts_with("no connections"));
    somebody.press(KeyCode::Enter);
    assert_eq!(somebody.view.mode, Mode::List, "there is nothing to open");
}

#[test]
fn one_connection_is_shown_with_what_it_is_and_that_it_is_gone() {
    let mut somebody = Somebody::at(80, 24);
    for _ in 0..6 {
        somebody.press(KeyCode::Down);
    }
    let id = somebody.under_cursor().to_owned();
    somebody.press(KeyCode::Enter);
    let seen = somebody.sees().join("\n");
    assert!(seen.contains(&id) && seen.contains("keepalive is off: no probe is ever"), "{seen}");
    assert!(seen.contains("WHAT HAPPENED\nNothing that the agent remembers"), "{seen}");
    somebody.sockets.retain(|socket| socket.id.to_string() != id);
    somebody.look();
    assert!(somebody.sees().join("\n").contains("not there any more"));
    somebody.press(KeyCode::Esc);
    assert_eq!(somebody.view.mode, Mode::List);
}

#[test]
fn without_an_agent_it_says_that_nobody_remembers() {
    let mut somebody = Somebody::at(80, 24);
    somebody.press(KeyCode::Enter);
    let answer = answered(&somebody.view, &somebody.sockets);
    let from_kernel = Answer { origin: Origin::Kernel, timeline: None, ..answer };
    somebody.view.take(from_kernel, PAUSE);
    let seen = somebody.sees().join("\n");
    assert!(seen.contains("read from the kernel, without an agent"), "{seen}");
    assert!(seen.contains("Nobody watched") && seen.contains("keepwatch run"), "{seen}");
}

#[test]
fn keys_change_the_order_and_what_is_shown() {
    let mut somebody = Somebody::at(80, 24);
    somebody.types("s");
    assert_eq!(somebody.view.pick.sort, Sort::Quiet);
    somebody.types("S");
    assert_eq!(somebody.view.pick.sort, Sort::Limit);
    somebody.types("r");
    assert_eq!(somebody.under_cursor(), "sk:a");
    somebody.types("u");
    assert_eq!(somebody.view.page.counts.of(Verdict::Protected), 0);
    assert!(somebody.sees()[2].contains("reversed, only unprotected"));
    somebody.types("p");
    assert!(somebody.view.is_paused() && somebody.sees()[0].ends_with("PAUSED"));
    somebody.types("?");
    let help = somebody.sees();
    assert!(help.iter().any(|line| line.starts_with("LIMIT")), "all of it fits: {help:#?}");
    assert_eq!(somebody.press(KeyCode::Char('q')), Effect::Nothing, "any key leaves the help");
    assert_eq!(somebody.press(KeyCode::Char('q')), Effect::End);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    somebody.view.mode = Mode::Typing;
    assert_eq!(somebody.view.key(control_c), Effect::End);
}

#[test]
fn what_was_seen_last_stays_when_nobody_answers_and_says_so() {
    let mut somebody = Somebody::at(80, 24);
    let answer = answered(&somebody.view, &somebody.sockets);
    let page = Err("no agent answers on /run/x".to_owned());
    somebody.view.take(Answer { page, ..answer }, PAUSE);
    let seen = somebody.sees();
    assert!(seen[1].starts_with("not of now: no agent answers on /run/x"), "{seen:#?}");
    assert!(seen[9].starts_with("overdue"));
    somebody.look();
    assert!(somebody.sees()[1].starts_with("5000 connections"));
}

#[test]
fn every_size_can_be_drawn() {
    let mut somebody = Somebody::at(80, 24);
    for (columns, lines) in [(1, 1), (29, 7), (30, 7), (40, 10), (79, 23), (500, 200)] {
        somebody.view.resize(columns, lines);
        somebody.look();
        for mode in [Mode::List, Mode::Typing, Mode::Help, Mode::Detail(usize::MAX)] {
            somebody.view.mode = mode;
            let seen = somebody.sees();
            assert_eq!(seen.len(), usize::from(lines));
            assert!(seen.iter().all(|line| width(line) <= usize::from(columns)));
        }
        somebody.view.mode = Mode::List;
    }
}

#[test]
fn an_empty_page_is_no_reason_to_ask_again_at_once() {
    let mut view = View::new(PageRequest::default(), None);
    let wish = view.wish();
    let page = Ok(Page { found: 100, ..Page::default() });
    let answer = Answer { origin: Origin::Kernel, wish, page, timeline: None, cost: PAUSE };
    assert_eq!(view.take(answer, PAUSE), Effect::Nothing);
}
