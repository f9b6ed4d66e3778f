//! A bare server for measurements: `serve [port] [shards] [spin_us]`, pinned to the first CPUs.

use runtime::{HttpSettings, Identity, Settings, preflight, start};

fn main() -> Result<(), String> {
    let argument = |at: usize, default: usize| {
        std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let shards = argument(2, 1);
    preflight(shards)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = Settings {
        listen_host: "127.0.0.1".to_owned(),
        listen_port: argument(1, 4222) as u16,
        http: Some(HttpSettings {
            host: "127.0.0.1".into(),
            port: 0,
            base_path: String::new(),
            secure: false,
        }),
        cores: (0..shards).map(|shard| shard % cpus).collect(),
        pin: true,
        spin_ns: argument(3, 0) as u64 * 1000,
        gather_ns: 0,
        identity: Identity { server_id: "NSERVE".to_owned(), ..Identity::default() },
        config_digest: String::new(),
        advertise: None,
        write_timeout: String::new(),
        tags: Vec::new(),
        metadata: Default::default(),
        feature_flags: Default::default(),
        shard: shard::Options::default(),
        proxied: false,
        tls: None,
        operators: Default::default(),
        recount: runtime::RECOUNT,
    };
    let server = start(settings).map_err(|error| error.to_string())?;
    println!("{} {:?}", server.client_addr(), server.http_addr());
    server.join()
}
