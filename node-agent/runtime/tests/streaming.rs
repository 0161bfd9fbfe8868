//! Exec, attach and port-forward as clients see them: WebSocket and SPDY, through the URLs that CRI gives out.

#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::wildcard_imports,
    reason = "a test fails where it stands"
)]

mod support;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use kontiki_runtime::streaming::spdy::frame::Frame;
use kontiki_runtime::streaming::spdy::headers::{Decoder, Encoder};
use proto::cri::*;
use support::{Node, PATIENCE, on_a_node, shell, strings};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Host and port, and path, of a URL.
fn parts(url: &str) -> (String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    (host.into(), format!("/{path}"))
}

async fn websocket(url: &str, protocol: &str) -> WebSocketStream<TcpStream> {
    let (host, _) = parts(url);
    let mut request = url.replacen("http://", "ws://", 1).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let stream = TcpStream::connect(host).await.unwrap();
    let (socket, reply) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(reply.headers()["sec-websocket-protocol"], protocol);
    socket
}

/// Collects channels until the outcome; gives stdout, stderr and the outcome.
async fn collect(socket: &mut WebSocketStream<TcpStream>) -> (String, String, serde_json::Value) {
    let mut channels = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    while let Some(Ok(Message::Binary(message))) =
        tokio::time::timeout(PATIENCE, socket.next()).await.unwrap()
    {
        let (channel, bytes) = message.split_first().unwrap();
        channels[usize::from(*channel)].extend_from_slice(bytes);
    }
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    (text(&channels[1]), text(&channels[2]), serde_json::from_slice(&channels[3]).unwrap())
}

fn channel(number: u8, bytes: &[u8]) -> Message {
    let mut message = vec![number];
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

async fn exec_url(node: &mut Node, id: &str, command: &[&str], tty: bool, stdin: bool) -> String {
    let request = ExecRequest {
        container_id: id.into(),
        cmd: strings(command),
        tty,
        stdin,
        stdout: true,
        stderr: !tty,
    };
    node.runtime.exec(request).await.unwrap().into_inner().url
}

#[test]
fn exec_over_websocket_has_streams_and_an_exit_code() {
    on_a_node("wsexec", async |node| {
        let sandbox = node.pod("ws");
        let pod = node.run_pod(&sandbox).await;
        let id = node.run_container(&pod, &sandbox, shell("main", "sleep 1000")).await;

        let url = exec_url(node, &id, &["sh", "-c", "cat; echo to-stderr >&2; exit 9"], false, true).await;
        let mut socket = websocket(&url, "v5.channel.k8s.io").await;
        socket.send(channel(0, b"from stdin\n")).await.unwrap();
        socket.send(channel(255, &[0])).await.unwrap();
        let (stdout, stderr, outcome) = collect(&mut socket).await;
        assert_eq!((stdout.as_str(), stderr.as_str()), ("from stdin\n", "to-stderr\n"));
        assert_eq!(outcome["details"]["causes"][0]["message"], "9");

        let url =
            exec_url(node, &id, &["sh", "-c", "read x; stty size; test -t 0 && echo terminal"], true, true)
                .await;
        let mut socket = websocket(&url, "v4.channel.k8s.io").await;
        socket.send(channel(4, br#"{"Width":120,"Height":33}"#)).await.unwrap();
        socket.send(channel(0, b"go\n")).await.unwrap();
        let (stdout, _, outcome) = collect(&mut socket).await;
        assert!(stdout.contains("33 120") && stdout.contains("terminal"), "{stdout:?}");
        assert_eq!(outcome["status"], "Success");

        // Large output arrives whole.
        let url =
            exec_url(node, &id, &["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], false, false).await;
        let (stdout, _, _) = collect(&mut websocket(&url, "v5.channel.k8s.io").await).await;
        assert_eq!(stdout.len(), 3_000_000);

        // A URL is good once; what is not an upgrade is refused.
        let used = tokio_tungstenite::client_async(
            url.replacen("http", "ws", 1).into_client_request().unwrap(),
            TcpStream::connect(parts(&url).0).await.unwrap(),
        );
        assert!(used.await.is_err());

        let attach =
            AttachRequest { container_id: id.clone(), stdin: false, tty: false, stdout: true, stderr: true };
        let url = node.runtime.attach(attach).await.unwrap().into_inner().url;
        let mut attached = websocket(&url, "v5.channel.k8s.io").await;
        node.stop_container(&id, 0).await;
        let (_, _, outcome) = collect(&mut attached).await;
        assert_eq!(outcome["details"]["causes"][0]["message"], "137");
        node.remove_pod(&pod).await;
    });
}

/// A SPDY client as far as the tests need one.
struct Spdy<S> {
    io: S,
    encoder: Encoder,
    decoder: Decoder,
    next_stream: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Spdy<S> {
    fn new(io: S) -> Self {
        Self { io, encoder: Encoder::default(), decoder: Decoder::default(), next_stream: 1 }
    }

    async fn send(&mut self, frame: Frame) {
        let mut buffer = BytesMut::new();
        frame.encode(&mut buffer);
        self.io.write_all(&buffer).await.unwrap();
    }

    /// Opens a stream and waits until it is accepted.
    async fn open(&mut self, headers: &[(&str, &str)]) -> u32 {
        let pairs: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (stream, headers) = (self.next_stream, self.encoder.encode(&pairs));
        self.next_stream += 2;
        self.send(Frame::SynStream { stream, fin: false, headers }).await;
        loop {
            if let Some(Frame::SynReply { stream: accepted, headers, .. }) = self.next().await {
                self.decoder.decode(&headers).unwrap();
                assert_eq!(accepted, stream);
                return stream;
            }
        }
    }

    async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, Frame::read(&mut self.io)).await.unwrap().unwrap()
    }

    /// Everything that arrives on a stream until its end.
    async fn read_to_end(&mut self, wanted: u32) -> String {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Some(Frame::Data { stream, fin, payload }) if stream == wanted => {
                    all.extend_from_slice(&payload);
                    if fin {
                        return String::from_utf8_lossy(&all).into_owned();
                    }
                }
                Some(_) => {}
                None => return String::from_utf8_lossy(&all).into_owned(),
            }
        }
    }

    async fn forward(&mut self, id: &str, port: &str) -> (u32, u32) {
        let error = self.open(&[("streamtype", "error"), ("port", port), ("requestid", id)]).await;
        self.send(Frame::Data { stream: error, fin: true, payload: Bytes::new() }).await;
        let data = self.open(&[("streamtype", "data"), ("port", port), ("requestid", id)]).await;
        (data, error)
    }

    async fn check_port_forward(&mut self) {
        for id in ["0", "1"] {
            let (data, _) = self.forward(id, "8080").await;
            let request = Bytes::from_static(b"GET /version HTTP/1.0\r\n\r\n");
            self.send(Frame::Data { stream: data, fin: false, payload: request }).await;
            let answer = self.read_to_end(data).await;
            assert!(answer.starts_with("HTTP/1.") && answer.ends_with("1\n"), "{answer:?}");
        }
        let (_, error) = self.forward("2", "9").await;
        let text = self.read_to_end(error).await;
        assert!(text.contains("error forwarding port 9") && text.contains("refused"), "{text:?}");
        self.send(Frame::Ping { id: 99 }).await;
        loop {
            if self.next().await.expect("the connection stands") == (Frame::Ping { id: 99 }) {
                return;
            }
        }
    }
}

/// Upgrades a connection to SPDY.
async fn upgrade(url: &str, protocol: &str) -> Spdy<TcpStream> {
    let (host, path) = parts(url);
    let mut stream = TcpStream::connect(&host).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {protocol}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        reply.push(stream.read_u8().await.unwrap());
    }
    let reply = String::from_utf8_lossy(&reply).to_ascii_lowercase();
    assert!(
        reply.starts_with("http/1.1 101")
            && reply.contains(&format!("x-stream-protocol-version: {protocol}"))
    );
    Spdy::new(stream)
}

#[test]
fn ports_are_forwarded_over_spdy_plain_and_tunnelled() {
    on_a_node("fwd", async |node| {
        let sandbox = node.pod("fwd");
        let pod = node.run_pod(&sandbox).await;
        let mut web = shell("web", "");
        web.command.clear();
        node.run_container(&pod, &sandbox, web).await;
        node.wait_for_text(&node.path("logs/fwd/web/0.log"), "listening").await;
        let request = PortForwardRequest { pod_sandbox_id: pod.clone(), port: vec![] };

        let url = node.runtime.port_forward(request.clone()).await.unwrap().into_inner().url;
        // The server says that it listens just before it does.
        let address = node.addresses(&pod).await;
        while TcpStream::connect((address.as_str(), 8080)).await.is_err() {
            tokio::task::yield_now().await;
        }
        upgrade(&url, "portforward.k8s.io").await.check_port_forward().await;

        let url = node.runtime.port_forward(request).await.unwrap().into_inner().url;
        let socket = websocket(&url, "SPDY/3.1+portforward.k8s.io").await;
        let (near, far) = tokio::io::duplex(1 << 16);
        let tunnel = async {
            let (mut to, mut from) = socket.split();
            let (mut reader, mut writer) = tokio::io::split(far);
            let mut buffer = vec![0; 1 << 16];
            loop {
                tokio::select! {
                    count = reader.read(&mut buffer) => match count.unwrap() {
                        0 => return,
                        count => to.send(Message::Binary(buffer[..count].to_vec().into())).await.unwrap(),
                    },
                    message = from.next() => match message {
                        Some(Ok(Message::Binary(bytes))) => writer.write_all(&bytes).await.unwrap(),
                        _ => return,
                    },
                }
            }
        };
        let check = async move { Spdy::new(near).check_port_forward().await };
        tokio::join!(tunnel, check);
        node.remove_pod(&pod).await;
    });
}

#[test]
fn exec_over_spdy_serves_older_clients() {
    on_a_node("spdy", async |node| {
        let sandbox = node.pod("spdy");
        let pod = node.run_pod(&sandbox).await;
        let id = node.run_container(&pod, &sandbox, shell("main", "sleep 1000")).await;
        let url = exec_url(node, &id, &["sh", "-c", "cat; exit 4"], false, true).await;
        let mut client = upgrade(&url, "v4.channel.k8s.io").await;
        let error = client.open(&[("streamtype", "error")]).await;
        let stdin = client.open(&[("streamtype", "stdin")]).await;
        let stdout = client.open(&[("streamtype", "stdout")]).await;
        client.open(&[("streamtype", "stderr")]).await;
        client.send(Frame::Data { stream: stdin, fin: true, payload: Bytes::from_static(b"hello") }).await;
        let (mut output, mut outcome) = (Vec::new(), Vec::new());
        while let Some(frame) = client.next().await {
            match frame {
                Frame::Data { stream, payload, .. } if stream == stdout => output.extend_from_slice(&payload),
                Frame::Data { stream, payload, .. } if stream == error => outcome.extend_from_slice(&payload),
                _ => {}
            }
        }
        assert_eq!(output, b"hello");
        let outcome: serde_json::Value = serde_json::from_slice(&outcome).unwrap();
        assert_eq!(outcome["details"]["causes"][0]["message"], "4");
        node.remove_pod(&pod).await;
    });
}
