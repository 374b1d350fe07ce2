//! Whom a command runs as: root is for the hooks, not for the command, nor for its files.

use crate::{files::fields_of, model::text::sanitize::escaped};
use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid};
use std::{env, ffi::OsString, fmt, fs, io, thread};

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Every group, with the first one.
    pub(super) groups: Vec<u32>,
    name: Option<String>,
    home: Option<String>,
    shell: Option<String>,
}

impl User {
    /// With this name or id, from /etc/passwd and /etc/group: a static binary has no NSS.
    pub(super) fn named(text: &str) -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        Self::find(text, &passwd, &groups)
    }

    /// The user who typed sudo, if we are root by it. A user whom the files do not know (LDAP) has the group that
    /// sudo names, and no other.
    pub(super) fn of_sudo() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = |name| env::var(name).ok()?.parse::<u32>().ok();
        let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
        if uid == 0 {
            return None;
        }
        let name = env::var("SUDO_USER").ok();
        let (home, shell) = (None, None);
        let unknown = Self { uid, gid, groups: vec![gid], name, home, shell };
        Some(Self::named(&uid.to_string()).unwrap_or(unknown))
    }

    /// Does something with this user's rights alone. Credentials belong to threads: one of its own becomes
    /// the user.
    pub(super) fn act<T: Send, E: From<io::Error> + Send>(
        &self,
        act: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        thread::scope(|scope| {
            let acting = scope.spawn(|| {
                self.become_this()?;
                act()
            });
            let broken = || Err(io::Error::other("the thread of the user panicked").into());
            acting.join().unwrap_or_else(|_| broken())
        })
    }

    fn become_this(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        set_thread_groups(&groups)?;
        set_thread_gid(Gid::from_raw(self.gid))?;
        set_thread_uid(Uid::from_raw(self.uid))?;
        Ok(())
    }

    /// What a login would set.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let Self { name, home, shell, .. } = self;
        [("USER", name), ("LOGNAME", name), ("HOME", home), ("SHELL", shell)]
            .into_iter()
            .filter_map(|(variable, value)| Some((variable, value.as_ref()?.into())))
            .collect()
    }

    fn find(text: &str, passwd: &str, groups: &str) -> Option<Self> {
        let mut users = passwd.lines().filter_map(fields_of);
        let (name, uid, mut fields) = users.find(|(name, uid, _)| *name == text || *uid == text)?;
        let gid: u32 = fields.next()?.parse().ok()?;
        let (home, shell) = (fields.nth(1)?, fields.next().unwrap_or_default());
        let member_of = groups.lines().filter_map(|line| {
            let mut fields = line.split(':').skip(2);
            let (gid, members) = (fields.next()?, fields.next()?);
            members.split(',').any(|member| member == name).then(|| gid.parse().ok())?
        });
        let mut groups: Vec<u32> = [gid].into_iter().chain(member_of).collect();
        groups.sort_unstable();
        groups.dedup();
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self {
            uid: uid.parse().ok()?,
            gid,
            groups,
            name: known(name),
            home: known(home),
            shell: known(shell),
        })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(&escaped(name.as_bytes())),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1001:Ann,,,:/home/ann:/bin/sh\n\
                          broken\nbob:x:1001:1001::/home/bob:\n";
    const GROUPS: &str = "root:x:0:\nann:x:1001:\ndocker:x:999:bob,ann\nstaff:x:50:bob\nbroken\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_every_group() {
        let ann = User::find("ann", PASSWD, GROUPS).unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups.as_slice()), (1000, 1001, &[999, 1001][..]));
        assert_eq!(User::find("1000", PASSWD, GROUPS), Some(ann.clone()));
        let environment = ann.environment();
        assert!(environment.contains(&("HOME", "/home/ann".into())), "{environment:?}");
        assert!(environment.contains(&("SHELL", "/bin/sh".into())), "{environment:?}");
        let bob = User::find("bob", PASSWD, GROUPS).unwrap();
        assert!(!bob.environment().iter().any(|(name, _)| *name == "SHELL"));
    }

    #[test]
    fn an_unknown_user_is_not_found() {
        for text in ["", "ann2", "1002", "broken", "x"] {
            assert_eq!(User::find(text, PASSWD, GROUPS), None, "{text}");
        }
    }
}
