//! What is made of runs that are sound, and of those that are not.

use super::*;

fn run(number: usize, cpu: f64, rate: f64) -> Run {
    Run {
        run: number,
        seconds: 1.0,
        units: 100,
        published: 100,
        per_second: rate,
        cpu_s_per_million: cpu,
        server_busy: 1.0,
        generator_busy: 0.3,
        others_busy: 0.0,
        memory_peak_bytes: 1,
        memory_per_connection: None,
        established: None,
        latency: None,
        stalled_s: None,
        account: Account::default(),
        faults: Vec::new(),
    }
}

fn result() -> ScenarioResult {
    let text = "name='x'\ntitle='x'\ngroup='g'\npayload=16\n[publish]\nsubject='a'";
    let scenario = Scenario::parse(text).unwrap();
    let (mut ours, mut nats) = (Row::new("ringbus"), Row::new("nats-server"));
    ours.runs = vec![run(0, 0.1, 9.0), run(1, 0.2, 8.0), run(2, 0.1, 9.0)];
    nats.runs = vec![run(0, 0.8, 3.0), run(1, 0.8, 2.0), run(2, 0.4, 3.0)];
    ScenarioResult::new(&scenario, vec![ours, nats])
}

#[test]
fn ratios_are_paired_by_run() {
    let result = result();
    let cheaper = result.cheaper(&result.rows[0], "nats-server").unwrap();
    assert!((cheaper.median - 4.0).abs() < 1e-9 && (cheaper.max - 8.0).abs() < 1e-9);
    let faster = result.faster(&result.rows[0], "nats-server").unwrap();
    assert_eq!((faster.min, faster.max), (3.0, 4.0));
    assert_eq!(result.cheaper(&result.rows[1], "nats-server"), None);
    assert_eq!(result.cheaper(&result.rows[0], "nats"), Some(cheaper));
}

#[test]
fn marks_and_troubles_show_what_is_wrong() {
    let mut run = Run { generator_busy: 0.9, others_busy: 0.5, ..run(0, 1.0, 1.0) };
    run.faults.push("owed 2, came 1".into());
    let report = report(vec![run]);
    assert_eq!(report.scenarios[0].rows[0].marks(), "gn!");
    assert_eq!(report.troubles().len(), 1);
    let json = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(back.scenarios[0].rows[0].runs.len(), 1);
}

fn stalled(number: usize) -> Run {
    Run { stalled_s: Some(3.25), units: 0, ..run(number, 0.0, 0.0) }
}

/// A report of one row of ours with these runs, beside a sound nats-server.
fn report(runs: Vec<Run>) -> Report {
    let (mut ours, mut nats) = (Row::new("ringbus"), Row::new("nats-server"));
    nats.runs = runs.iter().map(|r| run(r.run, 0.8, 3.0)).collect();
    ours.runs = runs;
    let text = "name='x'\ntitle='x'\ngroup='g'\npayload=16\n[publish]\nsubject='a'";
    let result = ScenarioResult::new(&Scenario::parse(text).unwrap(), vec![ours, nats]);
    Report {
        name: "t".into(),
        date: "2000-01-01".into(),
        machine: Machine::default(),
        server_cores: 1,
        generator_cores: 1,
        shared_cores: false,
        runs: 1,
        congestion: None,
        reference: "nats-server".into(),
        servers: Vec::new(),
        scenarios: vec![result],
    }
}

#[test]
fn a_run_whose_generator_stood_still_is_left_out_and_told() {
    let report = report(vec![stalled(0), run(1, 0.1, 9.0), run(2, 0.2, 8.0), stalled(3)]);
    let (scenario, row) = (&report.scenarios[0], &report.scenarios[0].rows[0]);
    let summary = row.summary.unwrap();
    assert_eq!((summary.per_second.min, summary.per_second.median), (8.0, 8.5));
    assert!(summary.cpu_s_per_million.min > 0.0 && summary.exact);
    assert_eq!(scenario.faster(row, "nats-server").unwrap().min, 8.0 / 3.0);
    assert_eq!(row.marks(), "s");
    let why = "left out: the generator stood still for 3.25 s";
    let told = [0, 3].map(|number| format!("x on ringbus: run {number}: {why}"));
    assert_eq!(report.troubles(), told);
}

#[test]
fn a_server_that_did_nothing_in_the_measure_is_not_cheap() {
    let none = Run { units: 0, ..run(0, 0.0, 0.0) };
    let report = report(vec![none, run(1, 0.1, 9.0), run(2, 0.2, 8.0)]);
    let (scenario, row) = (&report.scenarios[0], &report.scenarios[0].rows[0]);
    let summary = row.summary.unwrap();
    assert_eq!((summary.per_second.median, summary.cpu_s_per_million.min), (8.0, 0.1));
    assert_eq!(scenario.cost_ratio(row, &scenario.rows[1]).unwrap().min, 0.1 / 0.8);
    assert_eq!(row.marks(), "!");
    assert_eq!(report.troubles(), ["x on ringbus: run 0: nothing came in the measure"]);
}

#[test]
fn a_row_with_fewer_than_half_of_its_runs_is_not_to_be_relied_on() {
    let few = report(vec![stalled(0), run(1, 0.1, 9.0), stalled(2)]);
    let row = &few.scenarios[0].rows[0];
    assert_eq!((row.summary.unwrap().per_second.median, &*row.marks()), (9.0, "s?"));
    assert!(few.troubles()[2].ends_with("do not rely on its figures"), "{:?}", few.troubles());
    let none = report(vec![stalled(0)]);
    let row = &none.scenarios[0].rows[0];
    assert_eq!((row.blank(), &*row.marks()), ("stalled", "s?"));
    assert!(row.summary.is_none() && none.troubles().len() == 2);
}

#[test]
fn percentiles_come_from_the_histogram() {
    let mut histogram = crate::load::timing::histogram();
    assert!(Latency::of(&histogram).is_none());
    for us in 1..=1000u64 {
        histogram.record(us * 1000).unwrap();
    }
    let latency = Latency::of(&histogram).unwrap();
    assert!((latency.p50_us - 500.0).abs() < 2.0, "{}", latency.p50_us);
    assert!((latency.p99_us - 990.0).abs() < 2.0, "{}", latency.p99_us);
    assert!((latency.max_us - 1000.0).abs() < 2.0, "{}", latency.max_us);
}
