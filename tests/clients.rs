//! async-nats, as applications use it, against ringbus; and against the reference, so that the
//! tests are tested.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, RequestErrorKind, Subscriber};
use futures_util::StreamExt;

use crate::harness::server::{Program, Server, Setup};
use crate::harness::tokens::{Account, World};

/// Nothing here takes long; what has not come by then will not come.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Runs `work` against both programs, ringbus with several shards so that clients sit on different
/// cores.
fn with_both<F: Future<Output = ()>>(work: impl Fn(Server) -> F) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for program in Program::both() {
        println!("{}", program.path.display());
        let setup = Setup { shards: 4, ..Setup::default() };
        let server = Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        let work = async { tokio::time::timeout(TIME_MAX, work(server)).await };
        runtime.block_on(work).expect("it ends in time");
    }
}

async fn connect(server: &Server) -> Client {
    async_nats::connect(server.url()).await.expect("a connection")
}

async fn next(subscriber: &mut Subscriber) -> async_nats::Message {
    let message = tokio::time::timeout(TIME_MAX, subscriber.next()).await;
    message.expect("a message in time").expect("a message")
}

/// A whole round trip: what this client sent before has been done.
async fn settled(client: &Client) {
    client.flush().await.expect("a flush");
    let inbox = client.new_inbox();
    let mut own = client.subscribe(inbox.clone()).await.expect("a subscription");
    client.publish(inbox, "".into()).await.expect("a publish");
    next(&mut own).await;
}

#[test]
fn publish_reaches_subscribers_in_order() {
    with_both(|server| async move {
        let (publisher, reader) = (connect(&server).await, connect(&server).await);
        let mut literal = reader.subscribe("tele.a.1").await.expect("a subscription");
        let mut wild = reader.subscribe("tele.>").await.expect("a subscription");
        settled(&reader).await;
        for number in 0..500u32 {
            let payload = number.to_string().into();
            publisher.publish("tele.a.1", payload).await.expect("a publish");
        }
        publisher.publish("tele.b", "last".into()).await.expect("a publish");
        for number in 0..500u32 {
            assert_eq!(next(&mut literal).await.payload, number.to_string());
            assert_eq!(next(&mut wild).await.payload, number.to_string());
        }
        let last = next(&mut wild).await;
        assert_eq!((last.subject.as_str(), &last.payload[..]), ("tele.b", &b"last"[..]));
    });
}

#[test]
fn a_queue_group_shares_its_messages() {
    with_both(|server| async move {
        let publisher = connect(&server).await;
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        for member in 0..4usize {
            let client = connect(&server).await;
            let group = client.queue_subscribe("work.*", "workers".into()).await;
            let mut group = group.expect("a subscription");
            settled(&client).await;
            let send = send.clone();
            tokio::spawn(async move {
                while let Some(message) = group.next().await {
                    send.send((member, message.payload.to_vec())).expect("a reader");
                }
                drop(client);
            });
        }
        let count = 2000;
        for number in 0..count {
            let payload = format!("{number}").into();
            publisher.publish(format!("work.{}", number % 7), payload).await.expect("a publish");
        }
        publisher.flush().await.expect("a flush");
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut shares = [0; 4];
        while seen.len() < count {
            let (member, payload) = receive.recv().await.expect("a message");
            shares[member] += 1;
            assert_eq!(seen.insert(payload, member), None, "a message came twice");
        }
        // A fair pick gives each 500; a member below 250 would be 13 standard deviations off.
        assert!(shares.iter().all(|share| *share > 250), "shares {shares:?}");
    });
}

#[test]
fn requests_are_answered() {
    with_both(|server| async move {
        let (asker, service) = (connect(&server).await, connect(&server).await);
        let mut asked = service.queue_subscribe("svc.echo", "q".into()).await.expect("a service");
        settled(&service).await;
        tokio::spawn(async move {
            while let Some(request) = asked.next().await {
                let reply = request.reply.expect("a reply subject");
                service.publish(reply, request.payload).await.expect("an answer");
            }
        });
        let answers = (0..200u32).map(|number| {
            let asker = asker.clone();
            async move {
                let answer = asker.request("svc.echo", number.to_string().into()).await;
                assert_eq!(answer.expect("an answer").payload, number.to_string());
            }
        });
        futures_util::future::join_all(answers).await;
    });
}

#[test]
fn a_request_to_nobody_fails_at_once() {
    with_both(|server| async move {
        let asker = connect(&server).await;
        let fault = asker.request("svc.none", "hi".into()).await.expect_err("nobody is there");
        assert_eq!(fault.kind(), RequestErrorKind::NoResponders);
    });
}

#[test]
fn headers_pass_unchanged() {
    with_both(|server| async move {
        let (publisher, reader) = (connect(&server).await, connect(&server).await);
        let mut subscriber = reader.subscribe("h").await.expect("a subscription");
        settled(&reader).await;
        let mut headers = HeaderMap::new();
        headers.insert("X-One", "1");
        headers.append("X-Many", "a");
        headers.append("X-Many", "b");
        let sent = publisher.publish_with_headers("h", headers.clone(), "body".into()).await;
        sent.expect("a publish");
        let got = next(&mut subscriber).await;
        assert_eq!((got.headers, &got.payload[..]), (Some(headers), &b"body"[..]));
    });
}

#[test]
fn unsubscribe_after_lets_that_many_through() {
    with_both(|server| async move {
        let (publisher, reader) = (connect(&server).await, connect(&server).await);
        let mut few = reader.subscribe("u").await.expect("a subscription");
        few.unsubscribe_after(3).await.expect("an unsubscribe");
        settled(&reader).await;
        for number in 0..10u32 {
            publisher.publish("u", number.to_string().into()).await.expect("a publish");
        }
        let got: Vec<String> = few
            .by_ref()
            .map(|message| String::from_utf8_lossy(&message.payload).into_owned())
            .collect()
            .await;
        assert_eq!(got, ["0", "1", "2"]);
    });
}

#[test]
fn drain_delivers_what_came_before() {
    with_both(|server| async move {
        let (publisher, reader) = (connect(&server).await, connect(&server).await);
        let mut subscriber = reader.subscribe("d").await.expect("a subscription");
        settled(&reader).await;
        for _ in 0..100 {
            publisher.publish("d", "x".into()).await.expect("a publish");
        }
        settled(&publisher).await;
        reader.drain().await.expect("a drain");
        let mut count = 0;
        while subscriber.next().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 100);
    });
}

#[test]
fn clients_come_back_after_a_restart() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for program in Program::both() {
        let setup = Setup { shards: 2, ..Setup::default() };
        let first = Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        let port = first.address.port();
        let (client, mut subscriber) = runtime.block_on(async {
            let options = ConnectOptions::new()
                .reconnect_delay_callback(|_| Duration::from_millis(20))
                .connection_timeout(TIME_MAX);
            let client = options.connect(first.url()).await.expect("a connection");
            let subscriber = client.subscribe("again").await.expect("a subscription");
            settled(&client).await;
            (client, subscriber)
        });
        drop(first);
        let setup = Setup { port, ..setup };
        let second = Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        runtime.block_on(async {
            // Both subscriptions are made anew by the clients; the publisher can only try until
            // that is done.
            let publisher = connect(&second).await;
            let got = async {
                let mut tries = tokio::time::interval(Duration::from_millis(50));
                loop {
                    tries.tick().await;
                    publisher.publish("again", "back".into()).await.expect("a publish");
                    let wait = tokio::time::timeout(Duration::from_millis(50), subscriber.next());
                    if let Ok(message) = wait.await {
                        return message.expect("the subscription lives on");
                    }
                }
            };
            let got = tokio::time::timeout(TIME_MAX, got).await.expect("it comes back");
            assert_eq!(&got.payload[..], b"back");
            drop(client);
        });
    }
}

#[test]
fn a_large_message_and_one_too_large() {
    with_both(|server| async move {
        let (publisher, reader) = (connect(&server).await, connect(&server).await);
        let mut subscriber = reader.subscribe("big").await.expect("a subscription");
        settled(&reader).await;
        let large = vec![7u8; publisher.server_info().max_payload];
        publisher.publish("big", large.clone().into()).await.expect("a publish");
        assert_eq!(next(&mut subscriber).await.payload, large);
        let more = vec![7u8; large.len() + 1];
        publisher.publish("big", more.into()).await.expect_err("the client knows max_payload");
    });
}

/// Of `secret`, at the lowest cost there is.
const HASH: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

/// Runs `work` against both programs with these lines of configuration.
fn with_conf<F: Future<Output = ()>>(conf: &[String], work: impl Fn(Server) -> F) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for program in Program::both() {
        println!("{}", program.path.display());
        let setup = Setup { shards: 2, conf: conf.to_vec(), ..Setup::default() };
        let server = Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        let work = async { tokio::time::timeout(TIME_MAX, work(server)).await };
        runtime.block_on(work).expect("it ends in time");
    }
}

async fn is_let_in(server: &Server, options: ConnectOptions) -> bool {
    match options.connect(server.url()).await {
        Ok(client) => {
            settled(&client).await;
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
            false
        }
    }
}

#[test]
fn users_tokens_and_keys_are_let_in() {
    let key = nkeys::KeyPair::new_user();
    let users = [format!(
        "authorization {{ users [ {{user: plain, password: secret}}, \
         {{user: hashed, password: \"{HASH}\"}}, {{nkey: {}}} ] }}",
        key.public_key()
    )];
    let seed = key.seed().expect("a seed");
    with_conf(&users, |server| {
        let seed = seed.clone();
        async move {
            let as_user = |user: &str, pass: &str| {
                ConnectOptions::with_user_and_password(user.to_string(), pass.to_string())
            };
            for user in ["plain", "hashed"] {
                assert!(is_let_in(&server, as_user(user, "secret")).await, "{user}");
                assert!(!is_let_in(&server, as_user(user, "wrong")).await, "{user}");
            }
            assert!(is_let_in(&server, ConnectOptions::with_nkey(seed)).await);
            let stranger = nkeys::KeyPair::new_user().seed().expect("a seed");
            assert!(!is_let_in(&server, ConnectOptions::with_nkey(stranger)).await);
            assert!(!is_let_in(&server, ConnectOptions::new()).await);
        }
    });
    let token = ["authorization { token: open-sesame }".to_string()];
    with_conf(&token, |server| async move {
        let with = |token: &str| ConnectOptions::with_token(token.to_string());
        assert!(is_let_in(&server, with("open-sesame")).await);
        assert!(!is_let_in(&server, with("open-barley")).await);
    });
}

#[test]
fn a_file_of_credentials_is_enough() {
    let world = World::new();
    let app = Account::new("APP", serde_json::json!({}));
    let user = app.user(serde_json::json!({}), serde_json::json!({}));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for program in Program::both() {
        let setup = Setup { conf: world.conf(&[&app]), shards: 4, ..Setup::default() };
        let server = Server::start(&program, &setup).unwrap_or_else(|fault| panic!("{fault}"));
        let work = async {
            let options = ConnectOptions::with_credentials(&user.credentials());
            let client = options.expect("credentials").connect(server.url()).await;
            let client = client.expect("it is let in");
            let mut inbox = client.subscribe("a.>").await.expect("a subscription");
            client.publish("a.b", "x".into()).await.expect("a publish");
            assert_eq!(next(&mut inbox).await.payload, "x");
        };
        let work = async { tokio::time::timeout(TIME_MAX, work).await };
        runtime.block_on(work).expect("it ends in time");
    }
}
