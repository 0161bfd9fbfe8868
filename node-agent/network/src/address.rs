//! Addresses that this node answers on for the whole cluster, such as that of cluster DNS. They sit on the loopback
//! interface, where every packet that reaches the node finds them.

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;

/// Why an address could not be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the kernel.
    #[error("cannot talk to the kernel about addresses")]
    Connection(#[source] std::io::Error),
    /// The kernel refused.
    #[error("cannot {action} address {address}")]
    Kernel {
        /// What was being done.
        action: &'static str,
        /// To which address.
        address: Ipv4Addr,
        /// The cause.
        #[source]
        source: rtnetlink::Error,
    },
}

/// Loopback has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// Makes the node answer on `address`, in the network namespace of the calling process. Idempotent.
pub async fn add(address: Ipv4Addr) -> Result<(), Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Connection)?;
    let driver = tokio::spawn(connection);
    let added = handle.address().add(LOOPBACK, address.into(), 32).replace().execute().await;
    driver.abort();
    added.map_err(|source| Error::Kernel { action: "add", address, source })
}

/// Ends that. That the address is not there is success.
pub async fn remove(address: Ipv4Addr) -> Result<(), Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Connection)?;
    let driver = tokio::spawn(connection);
    let failed = |source| Error::Kernel { action: "remove", address, source };
    let removed = async {
        let mut addresses = handle.address().get().set_link_index_filter(LOOPBACK).execute();
        while let Some(message) = addresses.try_next().await.map_err(failed)? {
            let ours =
                message.attributes.iter().any(|a| matches!(a, AddressAttribute::Local(ip) if *ip == address));
            if ours {
                handle.address().del(message).execute().await.map_err(failed)?;
            }
        }
        Ok(())
    };
    let removed = removed.await;
    driver.abort();
    removed
}
