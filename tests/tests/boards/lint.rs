//! The rules of Grafana's dashboard-linter for Prometheus (target-logql and the like aside), and some
//! of our own. <https://github.com/grafana/dashboard-linter>

use keepwatch::tested::{
    MetricKind, families,
    judgement::{condition::Condition, death::Cause, verdict::Verdict},
    observed::socket::Direction,
};
use keepwatch_tests::dashboards::{
    mixin::{Board, GridPosition, Mixin, Panel, PanelTarget},
    promql,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Of Grafana's units (packages/grafana-data/src/valueFormats/categories.ts) those that we use.
const UNITS: [&str; 8] = [
    "short",
    "percentunit",
    "s",
    "bytes",
    // Its own for rates say c/s and c/m.
    "suffix: / s",
    "suffix: / min",
    "dtdurations",
    "dateTimeFromNow",
];
/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

fn boards() -> &'static BTreeMap<String, Board> {
    &Mixin::shipped().dashboards
}

#[track_caller]
fn each_panel(mut judge: impl FnMut(&Board, &Panel)) {
    let boards = boards();
    assert_eq!(boards.len(), 5);
    for board in boards.values() {
        assert!(!board.panels.is_empty(), "{}", board.title);
        for panel in &board.panels {
            judge(board, panel);
        }
    }
}

#[track_caller]
fn each_target(mut judge: impl FnMut(&str, &PanelTarget)) {
    each_panel(|board, panel| {
        for target in &panel.targets {
            judge(&format!("{} / {} / {}", board.title, panel.title, target.expr), target);
        }
    });
}

fn variables(board: &Board) -> BTreeMap<&str, &Value> {
    board.templating.list.iter().filter_map(|one| Some((one["name"].as_str()?, one))).collect()
}

#[test]
fn a_dashboard_can_be_imported_provisioned_and_found() {
    for (file, board) in boards() {
        assert_eq!(format!("{}.json", board.uid.strip_prefix("keepwatch-").unwrap()), *file);
        assert_eq!(board.id, Value::Null, "{file}: an id of somebody's Grafana");
        assert!(
            board.title.starts_with("keepwatch / ") && board.description.ends_with(['.', '?']),
            "{file}"
        );
        assert_eq!(board.tags, ["keepwatch"], "{file}");
        // Grafana 12: older ones read it too, newer ones migrate it.
        assert_eq!(board.schema_version, 41, "{file}");
    }
}

#[test]
fn uneditable_dashboard() {
    assert!(boards().values().all(|board| !board.editable));
}

#[test]
fn template_datasource_rule() {
    for board in boards().values() {
        let list = &board.templating.list;
        let sources: Vec<_> = list.iter().filter(|one| one["type"] == "datasource").collect();
        let [source] = sources[..] else {
            panic!("{}: {} datasources", board.title, sources.len())
        };
        assert_eq!(
            (&source["name"], &source["label"]),
            (&json!("datasource"), &json!("Data source"))
        );
        assert_eq!(source["query"], "prometheus");
    }
}

#[test]
fn template_job_and_instance_rules_and_on_time_change_reload_rule() {
    for board in boards().values() {
        let variables = variables(board);
        for (name, label) in [("job", "Job"), ("instance", "Instance"), ("cluster", "Cluster")] {
            assert_eq!(variables[name]["label"], label, "{}", board.title);
        }
        for (name, all) in [("job", ".+"), ("instance", ".+"), ("cluster", ".*")] {
            assert_eq!(variables[name]["allValue"], all, "{}: {name}", board.title);
        }
        for (name, variable) in variables.iter().filter(|(name, _)| **name != "datasource") {
            let of = format!("{}: {name}", board.title);
            assert_eq!(variable["type"], "query", "{of}");
            assert_eq!(
                variable["datasource"],
                json!({"type": "prometheus", "uid": "${datasource}"}),
                "{of}"
            );
            assert_eq!(
                (&variable["multi"], &variable["includeAll"]),
                (&json!(true), &json!(true)),
                "{of}"
            );
            assert_eq!(variable["refresh"], 2, "{of}");
        }
    }
}

#[test]
fn a_variable_is_used_and_asks_only_with_variables_before_it() {
    for board in boards().values() {
        let exprs = board.panels.iter().flat_map(|panel| &panel.targets).map(|target| &target.expr);
        let exprs: String = exprs.cloned().collect();
        let mut known = BTreeSet::new();
        for variable in &board.templating.list {
            let name = variable["name"].as_str().unwrap();
            let used = name == "datasource" || exprs.contains(&format!("\"${name}\""));
            assert!(used, "{}: {name}", board.title);
            let query = variable["query"].as_str().unwrap();
            for asked in query.split('$').skip(1) {
                let asked = asked.split('"').next().unwrap();
                assert!(known.contains(asked), "{}: {name} asks with {asked}", board.title);
            }
            known.insert(name);
        }
    }
}

#[test]
fn panel_datasource_rule() {
    let datasource = json!({"type": "prometheus", "uid": "${datasource}"});
    each_panel(|_, panel| {
        assert_eq!(panel.datasource, datasource, "{}", panel.title);
        assert!(
            panel.targets.iter().all(|target| target.datasource == datasource),
            "{}",
            panel.title
        );
    });
}

#[test]
fn panel_title_description_rule_and_a_title_asks() {
    each_panel(|_, panel| {
        assert!(panel.title.ends_with('?'), "{}", panel.title);
        assert!(
            panel.description.len() > 40 || panel.description.ends_with('.'),
            "{}",
            panel.title
        );
        assert!(!panel.description.is_empty(), "{}", panel.title);
    });
}

#[test]
fn panel_units_rule() {
    each_panel(|_, panel| {
        let overrides = panel.field_config["overrides"].as_array().unwrap().iter();
        let properties = overrides.flat_map(|one| one["properties"].as_array().unwrap());
        let units = properties.filter(|one| one["id"] == "unit").map(|one| &one["value"]);
        for unit in units.chain([&panel.field_config["defaults"]["unit"]]) {
            assert!(UNITS.contains(&unit.as_str().unwrap()), "{}: {unit}", panel.title);
        }
    });
}

#[test]
fn panel_no_targets_rule_and_names_of_targets_are_unique() {
    each_panel(|_, panel| {
        let ids: BTreeSet<_> = panel.targets.iter().map(|target| &target.ref_id).collect();
        assert!(!ids.is_empty() && ids.len() == panel.targets.len(), "{}", panel.title);
    });
}

#[test]
fn target_job_and_instance_rules_and_every_other_variable() {
    for board in boards().values() {
        let variables = variables(board);
        for target in board.panels.iter().flat_map(|panel| &panel.targets) {
            let reading = promql::read(&target.expr);
            assert!(!reading.selectors.is_empty(), "{}", target.expr);
            for selector in reading.selectors {
                for name in ["cluster", "job", "instance"] {
                    assert!(
                        selector.has(name, "=~", &format!("${name}")),
                        "{}: {name}",
                        target.expr
                    );
                }
                let asked =
                    selector.matchers.iter().filter_map(|(_, _, value)| value.strip_prefix('$'));
                for name in asked {
                    assert!(variables.contains_key(name), "{}: no variable {name}", target.expr);
                }
            }
        }
    }
}

#[test]
fn target_rate_interval_rule() {
    each_target(|what, target| {
        for selector in promql::read(&target.expr).selectors {
            let expected = match selector.function.as_deref() {
                Some("rate" | "irate") => Some("$__rate_interval"),
                Some("increase") => Some("$__range"),
                _ => None,
            };
            assert_eq!(selector.range.as_deref(), expected, "{what}");
        }
    });
}

#[test]
fn target_counter_agg_rule() {
    each_target(|what, target| {
        for selector in promql::read(&target.expr).selectors {
            let is_counter = selector.name.ends_with("_total");
            let function = selector.function.as_deref();
            assert!(
                !is_counter || matches!(function, Some("rate" | "irate" | "increase")),
                "{what}"
            );
        }
    });
}

#[test]
fn histograms_of_now_are_not_rated_and_those_of_events_are() {
    each_target(|what, target| {
        for selector in promql::read(&target.expr).selectors {
            let of_now = ["keepwatch_idle_setting_seconds", "keepwatch_detection_seconds"];
            if of_now.iter().any(|name| selector.name.starts_with(name)) {
                assert_eq!(selector.range, None, "{what}");
            } else if selector.name.ends_with("_bucket") {
                assert_eq!(selector.function.as_deref(), Some("increase"), "{what}");
            }
        }
    });
}

#[test]
fn a_legend_names_labels_that_the_series_have() {
    each_target(|what, target| {
        let labels = promql::read(&target.expr).labels;
        for label in target.legend_format.split("{{").skip(1) {
            let label = label.split("}}").next().unwrap();
            assert!(labels.contains(label), "{what}: {label}");
        }
    });
}

#[test]
fn panels_fill_the_grid_and_do_not_overlap() {
    for board in boards().values() {
        let ids: BTreeSet<_> = board.panels.iter().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), board.panels.len(), "{}: ids", board.title);
        let mut taken = BTreeSet::new();
        for panel in &board.panels {
            let GridPosition { x, y, w, h } = panel.grid_pos;
            assert!(w > 0 && h > 0 && x + w <= COLUMNS, "{} / {}", board.title, panel.title);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{} / {}: {cell:?}", board.title, panel.title);
            }
        }
        let height = board.panels.iter().map(|panel| panel.grid_pos.y + panel.grid_pos.h).max();
        assert_eq!(
            taken.len(),
            usize::try_from(COLUMNS * height.unwrap()).unwrap(),
            "{}: a hole",
            board.title
        );
    }
}

/// What the columns of a table are called.
fn columns(panel: &Panel) -> BTreeSet<&str> {
    let organize = panel.transformations.iter().find(|one| one["id"] == "organize");
    let renamed = organize.and_then(|one| one["options"]["renameByName"].as_object());
    renamed.into_iter().flatten().filter_map(|(_, name)| name.as_str()).collect()
}

#[test]
fn overrides_sorting_and_colours_name_what_is_there() {
    let verdicts = Verdict::ALL.map(Verdict::as_str);
    let conditions = Condition::ALL.map(Condition::as_str);
    assert_eq!(Direction::ALL.map(Direction::as_str), ["outbound", "inbound"]);
    each_panel(|_, panel| {
        let names = columns(panel);
        let overrides = panel.field_config["overrides"].as_array().unwrap();
        let named = overrides.iter().map(|one| one["matcher"]["options"].as_str().unwrap());
        let sorted = panel.options["sortBy"].as_array().into_iter().flatten();
        let sorted = sorted.map(|one| one["displayName"].as_str().unwrap());
        if panel.kind == "table" {
            for name in named.chain(sorted) {
                assert!(names.contains(name), "{}: {name}", panel.title);
            }
        } else if panel.targets.iter().any(|target| target.legend_format == "{{verdict}}") {
            for name in named {
                assert!(verdicts.contains(&name), "{}: {name}", panel.title);
            }
        } else if panel.targets.iter().any(|target| target.legend_format == "{{condition}}") {
            for name in named {
                assert!(conditions.contains(&name), "{}: {name}", panel.title);
            }
        }
    });
}

#[test]
fn links_lead_to_a_dashboard_and_set_variables_that_it_has_from_columns_that_are_there() {
    let boards = boards();
    let mut n_links = 0;
    each_panel(|_, panel| {
        let overrides = panel.field_config["overrides"].as_array().unwrap().iter();
        let properties = overrides.flat_map(|one| one["properties"].as_array().unwrap());
        for link in properties
            .filter(|one| one["id"] == "links")
            .flat_map(|one| one["value"].as_array().unwrap())
        {
            n_links += 1;
            let url = link["url"].as_str().unwrap();
            let (uid, query) = url.strip_prefix("/d/").unwrap().split_once('?').unwrap();
            let target =
                boards.values().find(|board| board.uid == uid).unwrap_or_else(|| panic!("{url}"));
            let variables = variables(target);
            for part in query.split('&') {
                if let Some((name, column)) =
                    part.strip_prefix("var-").and_then(|part| part.split_once('='))
                {
                    let column =
                        column.strip_prefix("${__data.fields.").unwrap().strip_suffix('}').unwrap();
                    assert!(variables.contains_key(name), "{url}: {name}");
                    assert!(columns(panel).contains(column), "{url}: {column}");
                } else if let Some(name) = part.strip_suffix(":queryparam}") {
                    assert!(
                        variables.contains_key(name.strip_prefix("${").unwrap()),
                        "{url}: {name}"
                    );
                } else {
                    assert_eq!(part, "${__url_time_range}", "{url}");
                }
            }
        }
    });
    assert!(n_links >= 8, "{n_links}");
}

/// What a panel renames, from the name in the answer to the one that people read.
fn renamed(panel: &Panel) -> BTreeMap<&str, &str> {
    let overrides = panel.field_config["overrides"].as_array().unwrap().iter();
    let name = |one: &'static str| move |it: &'_ Value| it["id"] == one;
    overrides
        .filter_map(|one| {
            let shown =
                one["properties"].as_array().unwrap().iter().find(|it| name("displayName")(it))?;
            Some((one["matcher"]["options"].as_str()?, shown["value"].as_str()?))
        })
        .collect()
}

#[test]
fn each_bar_of_a_histogram_is_named_by_a_time_with_a_unit() {
    let mut n_panels = 0;
    each_panel(|_, panel| {
        if panel.kind != "bargauge" {
            return;
        }
        n_panels += 1;
        let renamed = renamed(panel);
        let selectors = promql::read(&panel.targets[0].expr).selectors;
        let family =
            families().find(|family| selectors[0].name == format!("{}_bucket", family.name));
        let Some(MetricKind::Histogram(bounds)) = family.map(|family| family.kind) else {
            panic!("{}: no histogram", panel.title)
        };
        let bounds: BTreeSet<String> =
            bounds.iter().map(u32::to_string).chain(["+Inf".to_owned()]).collect();
        assert_eq!(
            bounds,
            renamed.keys().map(|name| (*name).to_owned()).collect(),
            "{}",
            panel.title
        );
        for name in renamed.values() {
            assert!(
                *name == "longer" || name.ends_with(['s', 'n', 'h']),
                "{}: {name}",
                panel.title
            );
        }
    });
    assert_eq!(n_panels, 3);
}

#[test]
fn every_verdict_and_cause_and_condition_that_is_drawn_has_its_own_colour() {
    let by_colour = ["{{verdict}}", "{{cause}}", "{{condition}}"];
    each_panel(|_, panel| {
        if panel.targets.iter().all(|target| !by_colour.contains(&target.legend_format.as_str())) {
            return;
        }
        let overrides = panel.field_config["overrides"].as_array().unwrap();
        let colours: BTreeSet<_> = overrides
            .iter()
            .filter_map(|one| {
                let properties = one["properties"].as_array()?;
                properties.iter().find(|it| it["id"] == "color")?["value"]["fixedColor"].as_str()
            })
            .collect();
        assert_eq!(colours.len(), overrides.len(), "{}: {colours:?}", panel.title);
    });
    let drawn = |legend: &str| -> BTreeSet<String> {
        let panels = boards().values().flat_map(|board| &board.panels);
        let drawn =
            panels.filter(|panel| panel.targets.iter().any(|it| it.legend_format == legend));
        drawn
            .flat_map(|panel| panel.field_config["overrides"].as_array().unwrap())
            .map(|one| one["matcher"]["options"].as_str().unwrap().to_owned())
            .collect()
    };
    let named =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|&it| it.into()).collect() };
    let conditions = Condition::ALL.map(Condition::as_str);
    assert_eq!(drawn("{{condition}}"), named(&conditions[..conditions.len() - 1]));
    assert_eq!(drawn("{{verdict}}"), named(&["protected", "kept", "late", "off"]));
    assert_eq!(drawn("{{cause}}"), named(&Cause::ALL.map(Cause::as_str)));
}

#[test]
fn a_dashboard_shows_when_its_alerts_fired() {
    for board in boards().values() {
        let [shown] = board.annotations.list.as_slice() else { panic!("{}", board.title) };
        let expr = shown["expr"].as_str().unwrap();
        assert!(
            expr.starts_with("ALERTS{") && expr.contains("Keepwatch"),
            "{}: {expr}",
            board.title
        );
        assert_eq!(shown["datasource"], board.panels[0].datasource, "{}", board.title);
        assert_eq!(shown["enable"], true, "{}", board.title);
    }
}

#[test]
fn what_is_wrong_now_comes_first() {
    for board in boards().values().filter(|board| board.uid != "keepwatch-agent") {
        let first = board.panels.iter().filter(|panel| panel.grid_pos.y == 0);
        let titles: Vec<_> = first.map(|panel| panel.title.as_str()).collect();
        assert!(titles[0].contains("stuck") && titles[1].contains("silent"), "{}", board.title);
        let second = &board.panels[titles.len()];
        assert!(second.targets[0].expr.contains("keepwatch_sockets_in_trouble"), "{}", board.title);
    }
}
