//! What a client is told: INFO, PONG, `+OK`, `-ERR`.

use wire::{Fault, emit};

use crate::report::Event;
use crate::{ConnId, Effects, Shard};

impl Shard {
    /// The first PONG after CONNECT brings a second INFO to clients that know of it.
    pub(crate) fn send_pong(&mut self, conn: ConnId, out: &mut Effects) {
        self.write(conn, out, emit::pong);
        if self.options.trace {
            self.trace_out(conn, "PONG", out);
        }
        let Some(client) = self.client(conn) else { return };
        if client.connected && !client.first_pong_sent {
            client.first_pong_sent = true;
            if client.connect.protocol >= 1 {
                let mut info = self.info_for(conn);
                info.connect_info = true;
                info.max_payload = self.payload_max(conn) as i32;
                let (access, account) = (&self.options.access, self.account_of(conn));
                info.remote_account = access.name_of(account).to_string();
                info.acc_is_sys = access.system == Some(account);
                self.write(conn, out, |bytes| emit::info(bytes, &info));
            }
        }
    }

    pub(crate) fn send_info(&mut self, conn: ConnId, out: &mut Effects) {
        let info = self.info_for(conn);
        self.write(conn, out, |bytes| emit::info(bytes, &info));
    }

    pub(crate) fn info_for(&self, conn: ConnId) -> wire::ServerInfo {
        let mut info = self.info.clone();
        if let Some(client) = &self.clients[conn.index()] {
            info.client_id = client.cid;
            if client.tells_address {
                info.client_ip = client.addr.ip().to_string();
            }
            info.nonce = client.identity.nonce().to_string();
            if let Some(offer) = client.offer {
                // Where TLS comes first, who reads this has it.
                info.tls_required = offer.required || offer.first;
                info.tls_available = !offer.required;
                info.tls_verify = offer.verify;
            }
        }
        info
    }

    pub(crate) fn send_ok(&mut self, conn: ConnId, out: &mut Effects) {
        self.write(conn, out, emit::ok);
        if self.options.trace {
            self.trace_out(conn, "OK", out);
        }
    }

    pub(crate) fn send_err(&mut self, conn: ConnId, text: &str, out: &mut Effects) {
        self.write(conn, out, |bytes| emit::err(bytes, text));
        if self.options.trace {
            self.trace_out(conn, &format!("-ERR {text}"), out);
        }
    }

    /// The client has done something that ends its connection.
    pub(crate) fn fault(&mut self, conn: ConnId, fault: &Fault, out: &mut Effects) {
        self.note(conn, Event::Fault(fault.to_string()), out);
        if let Some(text) = fault.error_text() {
            self.send_err(conn, text, out);
        }
        self.close(conn, fault.reason(), out);
    }
}
