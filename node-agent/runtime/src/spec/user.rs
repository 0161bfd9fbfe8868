//! Who a container runs as: numbers from names, by the image's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use proto::cri::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::PASSWD_BYTES_MAX;

/// A resolved identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory, if the image knows the user.
    pub home: String,
}

/// The two files of an image.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads them from the layers of an image, the topmost first.
    pub fn read(layers: &[PathBuf]) -> Self {
        Self { passwd: read(layers, "etc/passwd"), group: read(layers, "etc/group") }
    }

    /// Applies Kubernetes' rules: numbers of the pod first, then its user name, then what the image says.
    pub fn resolve(&self, security: &LinuxContainerSecurityContext, image_user: &str) -> Result<User> {
        let (name, group) = image_user.split_once(':').unwrap_or((image_user, ""));
        let wanted = match (&security.run_as_user, security.run_as_username.as_str()) {
            (Some(number), _) => number.value.to_string(),
            (None, "") if name.is_empty() => "0".into(),
            (None, "") => name.to_string(),
            (None, given) => given.to_string(),
        };
        let mut user = self.user(&wanted)?;
        if security.run_as_user.is_none() && security.run_as_username.is_empty() && !group.is_empty() {
            user.gid = self.group_number(group)?;
        }
        if let Some(group) = &security.run_as_group {
            user.gid = number(group.value)?;
        }
        if security.supplemental_groups_policy == SupplementalGroupsPolicy::Strict as i32 {
            user.groups.clear();
        }
        for group in &security.supplemental_groups {
            user.groups.push(number(*group)?);
        }
        user.groups.sort_unstable();
        user.groups.dedup();
        Ok(user)
    }

    fn user(&self, name: &str) -> Result<User> {
        let is_number = name.parse::<u32>();
        let mut lines = self.passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = lines.find(|fields| match &is_number {
            Ok(_) => fields.get(2) == Some(&name),
            Err(_) => fields.first() == Some(&name),
        });
        let field = |position: usize| entry.as_ref().and_then(|fields| fields.get(position)).copied();
        let uid = field(2).and_then(|text| text.parse().ok()).or(is_number.ok());
        let uid =
            uid.ok_or_else(|| Error::Invalid(format!("the image has no user {name:?} in /etc/passwd")))?;
        let gid = field(3).and_then(|text| text.parse().ok()).unwrap_or(0);
        let groups = field(0).map_or_else(Vec::new, |login| self.groups_of(login));
        Ok(User { uid, gid, groups, home: field(5).unwrap_or_default().to_string() })
    }

    fn groups_of(&self, login: &str) -> Vec<u32> {
        let lines = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let member =
            |fields: &Vec<&str>| fields.get(3).is_some_and(|list| list.split(',').any(|name| name == login));
        lines.filter(member).filter_map(|fields| fields.get(2)?.parse().ok()).collect()
    }

    fn group_number(&self, name: &str) -> Result<u32> {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let mut lines = self.group.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines
            .find(|fields| fields.first() == Some(&name))
            .and_then(|fields| fields.get(2)?.parse().ok())
            .ok_or_else(|| Error::Invalid(format!("the image has no group {name:?} in /etc/group")))
    }
}

fn number(value: i64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::Invalid(format!("{value} is no user or group number")))
}

/// The file as containers will see it: from the topmost layer that has it. Links cannot lead out of a layer.
fn read(layers: &[PathBuf], path: &str) -> String {
    layers.iter().find_map(|layer| open(layer, path)).map_or_else(String::new, |file| {
        let mut bytes = Vec::new();
        // Half a file still names the users it names.
        let _ = file.take(PASSWD_BYTES_MAX).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn open(layer: &Path, path: &str) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root = File::open(layer).ok()?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).ok()?);
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::cri::Int64Value;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n".into(),
            group: "root:x:0:\napp:x:1001:\nwheel:x:10:app,other\n".into(),
        }
    }

    fn resolve(security: LinuxContainerSecurityContext, image: &str) -> Result<User> {
        accounts().resolve(&security, image)
    }

    #[test]
    fn image_users_are_looked_up_in_the_image() {
        let user = resolve(Default::default(), "app").unwrap();
        assert_eq!(user, User { uid: 1000, gid: 1001, groups: vec![10], home: "/home/app".into() });
        assert_eq!(resolve(Default::default(), "app:wheel").unwrap().gid, 10);
        assert_eq!(resolve(Default::default(), "").unwrap().uid, 0);
        assert_eq!(resolve(Default::default(), "4711").unwrap(), User { uid: 4711, ..User::default() });
        assert!(resolve(Default::default(), "nobody-here").is_err());
    }

    #[test]
    fn the_pod_overrides_the_image() {
        let security = LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 1000 }),
            run_as_group: Some(Int64Value { value: 7 }),
            supplemental_groups: vec![42],
            supplemental_groups_policy: SupplementalGroupsPolicy::Strict as i32,
            ..Default::default()
        };
        let user = resolve(security, "root").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1000, 7, vec![42]));
    }
}
