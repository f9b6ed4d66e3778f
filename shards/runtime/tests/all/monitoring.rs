//! The monitoring listener.

use runtime::{HttpSettings, Server, start};

use crate::client::{Client, end, settings};

fn serve() -> Server {
    let mut settings = settings(2);
    settings.http = Some(HttpSettings {
        host: "127.0.0.1".to_owned(),
        port: 0,
        base_path: String::new(),
        secure: false,
    });
    start(settings).expect("it starts")
}

/// One request on a connection of its own.
fn fetch(server: &Server, path: &str) -> String {
    let mut client = Client::new(server.http_addr().expect("asked for"));
    client.send(&format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"));
    client.rest()
}

#[test]
fn figures_come_from_all_shards() {
    let server = serve();
    let addr = server.client_addr();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::hello(addr)).collect();
    clients[0].send("PUB a 1\r\nx\r\n");
    clients[0].ping();
    let varz = fetch(&server, "/varz");
    assert!(varz.starts_with("HTTP/1.1 200 OK\r\n"), "{varz}");
    assert!(varz.contains("\"connections\": 3,"), "{varz}");
    assert!(varz.contains("\"in_msgs\": 1,"), "{varz}");
    let connz = fetch(&server, "/connz");
    for cid in 1..=3 {
        assert!(connz.contains(&format!("\"cid\": {cid},")), "{connz}");
    }
    assert!(fetch(&server, "/healthz").contains("\"status\":\"ok\""));
    assert!(fetch(&server, "/nothing").starts_with("HTTP/1.1 404"));
    end(server);
}

#[test]
fn one_connection_asks_many_times() {
    let server = serve();
    let mut client = Client::new(server.http_addr().expect("asked for"));
    for _ in 0..50 {
        client.send("GET /varz HTTP/1.1\r\nHost: here\r\n\r\n");
        assert_eq!(client.line(), "HTTP/1.1 200 OK");
        let mut length = 0;
        loop {
            let line = client.line().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        client.skip(length);
    }
    end(server);
}

#[test]
fn many_connections_ask_at_once() {
    let server = serve();
    let addr = server.http_addr().expect("asked for");
    let mut clients: Vec<Client> = (0..30).map(|_| Client::new(addr)).collect();
    for client in &mut clients {
        client.send("GET /connz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    }
    assert!(clients.iter_mut().all(|client| client.rest().starts_with("HTTP/1.1 200 OK\r\n")));
    end(server);
}

#[test]
fn a_monitoring_port_in_use_is_an_error() {
    let server = serve();
    let mut settings = settings(1);
    let port = server.http_addr().expect("asked for").port();
    settings.http = Some(HttpSettings {
        host: "127.0.0.1".to_owned(),
        port,
        base_path: String::new(),
        secure: false,
    });
    let error = start(settings).map(end).expect_err("one of two");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    end(server);
}
