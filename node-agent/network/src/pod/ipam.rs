//! Addresses of pods, reserved on disk: one file for each address, named after it, holding the pod's id.
//!
//! Creating the file is the reservation, and only one process can create it, so neither a crash nor a second
//! process can hand an address out twice. An address that was released is reused as late as possible, because
//! other nodes may remember its last owner.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::error::{Error, Result};

/// File that holds the address handed out last.
const LAST: &str = "last";

/// Largest part of a CIDR that is used, in bits: 65,536 pods on one node are enough.
const HOST_BITS_MAX: u8 = 16;

/// Reservations in one directory.
#[derive(Debug)]
pub struct Ipam {
    directory: PathBuf,
}

impl Ipam {
    /// The directory is made when it is needed.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Reserves an address in each CIDR. Asking again gives the same addresses.
    pub fn reserve(&self, id: &str, cidrs: &[IpNet]) -> Result<Vec<IpAddr>> {
        cidrs.iter().map(|cidr| self.reserve_one(id, cidr)).collect()
    }

    fn reserve_one(&self, id: &str, cidr: &IpNet) -> Result<IpAddr> {
        let directory = self.directory.join(cidr.to_string().replace('/', "_"));
        fs::create_dir_all(&directory).map_err(Error::file("creating", &directory))?;
        if let Some(address) = reserved_by(&directory, id)? {
            return Ok(address);
        }
        let hosts = hosts(cidr);
        let last =
            fs::read_to_string(directory.join(LAST)).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
        let start = last.and_then(|address| offset(cidr, address)).map_or(FIRST_POD, |offset| offset + 1);
        let order = (start..hosts).chain(FIRST_POD..start.min(hosts));
        for address in order.filter_map(|offset| nth(cidr, offset)) {
            if claim(&directory, address, id)? {
                write(&directory.join(LAST), &address.to_string())?;
                return Ok(address);
            }
        }
        Err(Error::Exhausted { cidr: cidr.to_string(), taken: reservations(&directory)?.len() })
    }

    /// Gives the addresses of a pod back.
    pub fn release(&self, id: &str) -> Result<()> {
        self.remove_where(|owner| owner == id)
    }

    /// Gives back every address whose owner is not known.
    pub fn retain(&self, known: &BTreeSet<String>) -> Result<()> {
        self.remove_where(|owner| !known.contains(owner))
    }

    fn remove_where(&self, matches: impl Fn(&str) -> bool) -> Result<()> {
        let Ok(directories) = fs::read_dir(&self.directory) else { return Ok(()) };
        for directory in directories.flatten() {
            for (path, owner) in reservations(&directory.path())? {
                if matches(&owner) {
                    fs::remove_file(&path).map_err(Error::file("removing", path))?;
                }
            }
        }
        Ok(())
    }
}

/// Offset of the bridge's own address in the CIDR.
const GATEWAY: u128 = 1;
/// Offset of the first address for pods.
const FIRST_POD: u128 = 2;

/// The bridge's address in a CIDR.
pub fn gateway(cidr: &IpNet) -> Option<IpAddr> {
    nth(cidr, GATEWAY)
}

/// One past the last usable offset; the last address of an IPv4 network is its broadcast address.
fn hosts(cidr: &IpNet) -> u128 {
    let bits = (cidr.max_prefix_len() - cidr.prefix_len()).min(HOST_BITS_MAX);
    (1 << bits) - 1
}

fn nth(cidr: &IpNet, offset: u128) -> Option<IpAddr> {
    match cidr.network() {
        IpAddr::V4(network) => {
            Some(IpAddr::V4(u32::from(network).checked_add(u32::try_from(offset).ok()?)?.into()))
        }
        IpAddr::V6(network) => Some(IpAddr::V6(u128::from(network).checked_add(offset)?.into())),
    }
}

fn offset(cidr: &IpNet, address: IpAddr) -> Option<u128> {
    match (cidr.network(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            u32::from(address).checked_sub(u32::from(network)).map(u128::from)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => u128::from(address).checked_sub(u128::from(network)),
        _ => None,
    }
}

/// True if the address was free and is ours now. The owner is in the file before the name exists.
fn claim(directory: &Path, address: IpAddr, id: &str) -> Result<bool> {
    let path = directory.join(address.to_string());
    if path.exists() {
        return Ok(false);
    }
    let temporary = directory.join(format!(".{id}"));
    write(&temporary, id)?;
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary).map_err(Error::file("removing", temporary))?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::file("reserving", path)(error)),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    // Not flushed: a power cut ends every pod, and with them the reservations that might be lost.
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(Error::file("writing", path))
}

fn reserved_by(directory: &Path, id: &str) -> Result<Option<IpAddr>> {
    let mut all = reservations(directory)?.into_iter().filter(|(_, owner)| owner == id);
    Ok(all.find_map(|(path, _)| path.file_name()?.to_str()?.parse().ok()))
}

fn reservations(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let entries = fs::read_dir(directory).map_err(Error::file("reading", directory))?;
    let mut all = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_address = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.parse::<IpAddr>().is_ok());
        if is_address {
            let owner = fs::read_to_string(&path).map_err(Error::file("reading", &path))?;
            all.push((path, owner.trim().to_string()));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(text: &str) -> Vec<IpNet> {
        text.split(',').map(|cidr| cidr.parse().unwrap()).collect()
    }

    #[test]
    fn each_pod_has_an_address_of_its_own_in_each_family() {
        let directory = tempfile::tempdir().unwrap();
        let ipam = Ipam::new(directory.path().into());
        let cidrs = cidrs("10.1.0.0/24,fd00:1::/64");
        let first = ipam.reserve("a", &cidrs).unwrap();
        assert_eq!(first, ["10.1.0.2".parse::<IpAddr>().unwrap(), "fd00:1::2".parse().unwrap()]);
        assert_eq!(ipam.reserve("a", &cidrs).unwrap(), first, "asking again gives the same");
        assert_ne!(ipam.reserve("b", &cidrs).unwrap()[0], first[0]);
    }

    #[test]
    fn released_addresses_are_reused_last_and_the_node_can_be_full() {
        let directory = tempfile::tempdir().unwrap();
        let ipam = Ipam::new(directory.path().into());
        let cidrs = cidrs("10.1.0.0/29");
        let all: Vec<_> = (0..5).map(|pod| ipam.reserve(&format!("p{pod}"), &cidrs).unwrap()[0]).collect();
        assert_eq!(
            all.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]
        );
        assert!(matches!(ipam.reserve("p5", &cidrs), Err(Error::Exhausted { taken: 5, .. })));
        ipam.release("p1").unwrap();
        assert_eq!(ipam.reserve("p6", &cidrs).unwrap()[0], all[1]);
        ipam.release("p0").unwrap();
        ipam.release("p3").unwrap();
        assert_eq!(ipam.reserve("p7", &cidrs).unwrap()[0], all[3], "after the last one first");
    }

    #[test]
    fn a_restart_keeps_reservations_and_forgets_unknown_pods() {
        let directory = tempfile::tempdir().unwrap();
        let cidrs = cidrs("10.1.0.0/24");
        let first = Ipam::new(directory.path().into()).reserve("a", &cidrs).unwrap();
        Ipam::new(directory.path().into()).reserve("gone", &cidrs).unwrap();
        let ipam = Ipam::new(directory.path().into());
        ipam.retain(&BTreeSet::from(["a".to_string()])).unwrap();
        assert_eq!(ipam.reserve("a", &cidrs).unwrap(), first);
        assert_eq!(reservations(&directory.path().join("10.1.0.0_24")).unwrap().len(), 1);
    }
}
