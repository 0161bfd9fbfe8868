//! Tables of volumes, claims and classes.

use serde_json::Value;

use super::{
    AGE, Column, NAME, Row, Tables, boolean,
    cell::{self, items, text},
    number as numeric, text as column, wide,
};

pub(super) const TABLES: Tables = &[
    ("", "persistentvolumes", VOLUMES),
    ("", "persistentvolumeclaims", CLAIMS),
    ("storage.k8s.io", "storageclasses", CLASSES),
    ("storage.k8s.io", "csinodes", CSI_NODES),
    ("storage.k8s.io", "csidrivers", CSI_DRIVERS),
    ("storage.k8s.io", "volumeattachments", ATTACHMENTS),
    ("storage.k8s.io", "volumeattributesclasses", &[NAME, DRIVER_NAME, AGE]),
];

const DRIVER_NAME: Column = column("DriverName", "The driver.", |row| text(row.object, "/driverName").into());
const MODE: Column =
    wide("VolumeMode", "Filesystem or Block.", |row| match text(row.object, "/spec/volumeMode") {
        "" => "<unset>".into(),
        mode => mode.into(),
    });
const ATTRIBUTES_CLASS: Column =
    column("VolumeAttributesClass", "The class of attributes.", |row| {
        match text(row.object, "/spec/volumeAttributesClassName") {
            "" => "<unset>".into(),
            class => class.into(),
        }
    });

fn class(object: &Value) -> String {
    match object.pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class") {
        Some(Value::String(class)) => class.clone(),
        _ => text(object, "/spec/storageClassName").to_owned(),
    }
}

fn phase(object: &Value) -> Value {
    if cell::is_deleted(object) { "Terminating".into() } else { text(object, "/status/phase").into() }
}

const VOLUMES: &[Column] = &[
    NAME,
    column("Capacity", "Size.", |row| cell::plain(row.object.pointer("/spec/capacity/storage")).into()),
    column("Access Modes", "Ways it can be mounted.", |row| {
        cell::access_modes(row.object.pointer("/spec/accessModes")).into()
    }),
    column("Reclaim Policy", "What happens when its claim goes.", |row| {
        text(row.object, "/spec/persistentVolumeReclaimPolicy").into()
    }),
    column("Status", "Its phase.", |row| phase(row.object)),
    column("Claim", "The claim it is bound to.", |row| {
        let of = |field: &str| text(row.object, &format!("/spec/claimRef/{field}")).to_owned();
        if of("name").is_empty() { "".into() } else { format!("{}/{}", of("namespace"), of("name")).into() }
    }),
    column("StorageClass", "Its class.", |row| class(row.object).into()),
    ATTRIBUTES_CLASS,
    column("Reason", "Why it is in its phase.", |row| text(row.object, "/status/reason").into()),
    AGE,
    MODE,
];

fn when_bound(row: Row<'_>, of: impl FnOnce(&Value) -> String) -> Value {
    if text(row.object, "/spec/volumeName").is_empty() { "".into() } else { of(row.object).into() }
}

const CLAIMS: &[Column] = &[
    NAME,
    column("Status", "Its phase.", |row| phase(row.object)),
    column("Volume", "The volume it is bound to.", |row| text(row.object, "/spec/volumeName").into()),
    column("Capacity", "Size of the volume.", |row| {
        when_bound(row, |o| cell::plain(o.pointer("/status/capacity/storage")))
    }),
    column("Access Modes", "Ways the volume can be mounted.", |row| {
        when_bound(row, |o| cell::access_modes(o.pointer("/status/accessModes")))
    }),
    column("StorageClass", "Its class.", |row| class(row.object).into()),
    ATTRIBUTES_CLASS,
    AGE,
    MODE,
];

const CLASSES: &[Column] = &[
    Column {
        cell: |row| {
            let name = text(row.object, "/metadata/name");
            let annotation = |key: &str| text(row.object, &format!("/metadata/annotations/{key}")) == "true";
            let default = annotation("storageclass.kubernetes.io~1is-default-class")
                || annotation("storageclass.beta.kubernetes.io~1is-default-class");
            if default { format!("{name} (default)").into() } else { name.into() }
        },
        ..NAME
    },
    column("Provisioner", "Who makes volumes.", |row| text(row.object, "/provisioner").into()),
    column("ReclaimPolicy", "What happens to released volumes.", |row| {
        match text(row.object, "/reclaimPolicy") {
            "" => "Delete".into(),
            policy => policy.into(),
        }
    }),
    column("VolumeBindingMode", "When volumes are bound.", |row| {
        match text(row.object, "/volumeBindingMode") {
            "" => "Immediate".into(),
            mode => mode.into(),
        }
    }),
    boolean("AllowVolumeExpansion", "Whether volumes can grow.", |row| {
        flag(row.object, "/allowVolumeExpansion").into()
    }),
    AGE,
];

fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

const CSI_NODES: &[Column] = &[
    NAME,
    numeric("Drivers", "Number of drivers on the node.", |row| {
        i64::try_from(items(row.object, "/spec/drivers").count()).unwrap_or(i64::MAX).into()
    }),
    AGE,
];

const CSI_DRIVERS: &[Column] = &[
    NAME,
    boolean("AttachRequired", "Whether volumes are attached.", |row| {
        row.object.pointer("/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true).into()
    }),
    boolean("PodInfoOnMount", "Whether mounts are told about the pod.", |row| {
        flag(row.object, "/spec/podInfoOnMount").into()
    }),
    boolean("StorageCapacity", "Whether capacity is tracked.", |row| {
        flag(row.object, "/spec/storageCapacity").into()
    }),
    column("TokenRequests", "Audiences of tokens it gets.", |row| {
        let all = items(row.object, "/spec/tokenRequests").map(|t| text(t, "/audience"));
        let all = all.collect::<Vec<_>>().join(",");
        if all.is_empty() { "<unset>".into() } else { all.into() }
    }),
    boolean("RequiresRepublish", "Whether it is called again and again.", |row| {
        flag(row.object, "/spec/requiresRepublish").into()
    }),
    column("Modes", "Life cycles of its volumes.", |row| {
        let all =
            items(row.object, "/spec/volumeLifecycleModes").filter_map(Value::as_str).collect::<Vec<_>>();
        if all.is_empty() { cell::NONE.into() } else { all.join(",").into() }
    }),
    AGE,
];

const ATTACHMENTS: &[Column] = &[
    NAME,
    column("Attacher", "The driver.", |row| text(row.object, "/spec/attacher").into()),
    column("PV", "The volume.", |row| text(row.object, "/spec/source/persistentVolumeName").into()),
    column("Node", "The node.", |row| text(row.object, "/spec/nodeName").into()),
    boolean("Attached", "Whether it is attached.", |row| flag(row.object, "/status/attached").into()),
    AGE,
];
