// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT
// Made from kmod/uapi/stor.h by ci/uapi. Do not edit.
use super::ctypes::*;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const STOR_ABI_VERSION: u32 = 1;
pub const STOR_IOC_MAGIC: u32 = 217;
pub const STOR_UUID_LEN: u32 = 16;
pub const STOR_NAME_LEN: u32 = 64;
pub const STOR_TARGET_LEN: u32 = 16;
pub const STOR_VERSION_LEN: u32 = 32;
pub const STOR_DISK_LEN: u32 = 32;
pub const STOR_MAX_VOLUMES: u32 = 16384;
pub const STOR_MAX_POOLS: u32 = 256;
pub const STOR_MAX_LOWERS: u32 = 64;
pub const STOR_MAX_CONFIG: u32 = 65536;
pub const STOR_LINEAR_CONFIG_VERSION: u32 = 1;
pub const STOR_POLICY_POOL: u32 = 0;
pub const STOR_POLICY_QUEUE: u32 = 1;
pub const STOR_POLICY_ERROR: u32 = 2;
pub const STOR_POLICY_READ_ONLY: u32 = 3;
pub const STOR_THIN_CONFIG_VERSION: u32 = 1;
pub const STOR_POOL_CONFIG_VERSION: u32 = 1;
pub const STOR_POOL_NO_PASSDOWN: u32 = 1;
pub const STOR_POOL_NO_ZERO: u32 = 2;
pub const STOR_REPLICA_CONFIG_VERSION: u32 = 1;
pub const STOR_REPLICA_TIE_BREAK: u32 = 1;
pub const STOR_REPLICA_FORCE: u32 = 2;
pub const STOR_REPLICA_JOIN_TIE_BREAK: u32 = 4;
pub const STOR_REPLICA_WRITE_MOSTLY: u32 = 8;
pub const STOR_REPLICA_READ_TOO: u32 = 16;
pub const STOR_REPLICA_DROP_SLOW: u32 = 32;
pub const STOR_MAX_LEGS: u32 = 16;
pub const STOR_REPLICA_ANY: u32 = 4294967295;
pub const STOR_REPLICA_NEVER: u32 = 4294967295;
pub const STOR_REPLICA_SLOW: u32 = 100;
pub const STOR_CREATE_READ_ONLY: u32 = 1;
pub const STOR_RELOAD_SHRINK: u32 = 1;
pub const STOR_SET_READ_ONLY: u32 = 1;
pub const STOR_STATE_READ_ONLY: u32 = 1;
pub const STOR_STATE_SUSPENDED: u32 = 2;
pub const STOR_STATE_DEAD: u32 = 4;
pub const STOR_STATE_LOWER_GONE: u32 = 8;
pub const STOR_LOWER_GONE: u32 = 1;
pub const STOR_WAIT_NONE: u32 = 0;
pub const STOR_WAIT_SUSPENDED: u32 = 1;
pub const STOR_WAIT_LOWER: u32 = 2;
pub const STOR_WAIT_METADATA: u32 = 3;
pub const STOR_WAIT_COMMIT: u32 = 4;
pub const STOR_WAIT_DATA_FULL: u32 = 5;
pub const STOR_WAIT_METADATA_FULL: u32 = 6;
pub const STOR_POOL_READ_ONLY: u32 = 1;
pub const STOR_POOL_CHANGE_COMMIT: u32 = 0;
pub const STOR_POOL_CHANGE_CREATE: u32 = 1;
pub const STOR_POOL_CHANGE_SNAPSHOT: u32 = 2;
pub const STOR_POOL_CHANGE_DELETE: u32 = 3;
pub const STOR_POOL_CHANGE_HOLD: u32 = 4;
pub const STOR_POOL_CHANGE_RELEASE: u32 = 5;
pub const STOR_POOL_CHANGE_CHECKED: u32 = 6;
pub const STOR_MAX_ITEMS: u32 = 4096;
pub const STOR_POOL_WRITE: u32 = 0;
pub const STOR_POOL_DATA_FULL: u32 = 1;
pub const STOR_POOL_METADATA_FULL: u32 = 2;
pub const STOR_POOL_STUCK: u32 = 3;
pub const STOR_POOL_FAILED: u32 = 4;
pub const STOR_POOL_NEEDS_CHECK: u32 = 1;
pub const STOR_POOL_OPENED_READ_ONLY: u32 = 2;
pub const STOR_POOL_DEVICE_EXCLUSIVE: u32 = 1;
pub const STOR_POOL_DEVICE_NO_ROOM: u32 = 1;
pub const STOR_LEG_ENTITLED: u32 = 1;
pub const STOR_LEG_REBUILDING: u32 = 2;
pub const STOR_LEG_FAILED: u32 = 4;
pub const STOR_LEG_JOINING: u32 = 8;
pub const STOR_LEG_VOTER: u32 = 16;
pub const STOR_LEG_SOURCE: u32 = 32;
pub const STOR_LEG_WRITE_MOSTLY: u32 = 64;
pub const STOR_LEG_SLOW: u32 = 128;
pub const STOR_LEG_SILENT: u32 = 256;
pub const STOR_REPLICA_RUNS: u32 = 0;
pub const STOR_REPLICA_STOP_QUORUM: u32 = 1;
pub const STOR_REPLICA_STOP_NO_LEG: u32 = 2;
pub const STOR_REPLICA_STOP_END: u32 = 3;
pub const STOR_REPLICA_WAITS_NOTHING: u32 = 0;
pub const STOR_REPLICA_WAITS_SOURCE: u32 = 1;
pub const STOR_REPLICA_WAITS_WRITES: u32 = 2;
pub const STOR_REPLICA_WAITS_LEG: u32 = 3;
pub const STOR_REPLICA_WAITS_RATE: u32 = 4;
pub const STOR_REPLICA_RANGES: u32 = 80;
pub const STOR_VERIFY_REPAIR: u32 = 1;
pub const STOR_ENGINE_ACTIVE: u32 = 1;
pub const STOR_SWITCH_MOVED: u32 = 0;
pub const STOR_SWITCH_STAYED: u32 = 1;
pub const STOR_SWITCH_DEAD: u32 = 2;
pub const STOR_SWITCH_UNCHANGED: u32 = 3;
pub const STOR_EVENT_LOST: u32 = 0;
pub const STOR_EVENT_CREATED: u32 = 1;
pub const STOR_EVENT_REMOVED: u32 = 2;
pub const STOR_EVENT_SUSPENDED: u32 = 3;
pub const STOR_EVENT_RESUMED: u32 = 4;
pub const STOR_EVENT_RELOADED: u32 = 5;
pub const STOR_EVENT_RENAMED: u32 = 6;
pub const STOR_EVENT_READ_ONLY: u32 = 7;
pub const STOR_EVENT_ENGINE_ADDED: u32 = 8;
pub const STOR_EVENT_ENGINE_REMOVED: u32 = 9;
pub const STOR_EVENT_SWITCHED: u32 = 10;
pub const STOR_EVENT_SWITCH_FAILED: u32 = 11;
pub const STOR_EVENT_DEAD: u32 = 12;
pub const STOR_EVENT_LOWER_GONE: u32 = 13;
pub const STOR_EVENT_IO_ERROR: u32 = 14;
pub const STOR_EVENT_POOL_CREATED: u32 = 15;
pub const STOR_EVENT_POOL_REMOVED: u32 = 16;
pub const STOR_EVENT_POOL_RELOADED: u32 = 17;
pub const STOR_EVENT_POOL_MODE: u32 = 18;
pub const STOR_EVENT_POOL_LOW_WATER: u32 = 19;
pub const STOR_EVENT_POOL_DELETED: u32 = 20;
pub const STOR_EVENT_POOL_NO_ROOM: u32 = 21;
pub const STOR_EVENT_LEG_FAILED: u32 = 22;
pub const STOR_EVENT_LEG_JOINED: u32 = 23;
pub const STOR_EVENT_LEG_ENTITLED: u32 = 24;
pub const STOR_EVENT_REPLICA_STOPPED: u32 = 25;
pub const STOR_EVENT_LEG_SLOW: u32 = 26;
pub const STOR_EVENT_LEG_SILENT: u32 = 27;
pub const STOR_NR_VERSION: u32 = 0;
pub const STOR_NR_CREATE: u32 = 1;
pub const STOR_NR_REMOVE: u32 = 2;
pub const STOR_NR_SUSPEND: u32 = 3;
pub const STOR_NR_RESUME: u32 = 4;
pub const STOR_NR_RELOAD: u32 = 5;
pub const STOR_NR_LIST: u32 = 6;
pub const STOR_NR_STATUS: u32 = 7;
pub const STOR_NR_SET: u32 = 8;
pub const STOR_NR_RENAME: u32 = 9;
pub const STOR_NR_ENGINE_LIST: u32 = 10;
pub const STOR_NR_ENGINE_SWITCH: u32 = 11;
pub const STOR_NR_POOL_CREATE: u32 = 12;
pub const STOR_NR_POOL_REMOVE: u32 = 13;
pub const STOR_NR_POOL_RELOAD: u32 = 14;
pub const STOR_NR_POOL_LIST: u32 = 15;
pub const STOR_NR_POOL_STATUS: u32 = 16;
pub const STOR_NR_POOL_CHANGE: u32 = 17;
pub const STOR_NR_POOL_DEVICE: u32 = 18;
pub const STOR_NR_REPLICA_STATUS: u32 = 19;
pub const STOR_NR_REPLICA_VERIFY: u32 = 20;
pub const STOR_NR_INSERT: u32 = 21;
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_header {
    pub abi: __u32,
    pub size: __u32,
    pub flags: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_header"][::core::mem::size_of::<stor_header>() - 16usize];
    ["Alignment of stor_header"][::core::mem::align_of::<stor_header>() - 4usize];
    ["Offset of field: stor_header::abi"][::core::mem::offset_of!(stor_header, abi) - 0usize];
    ["Offset of field: stor_header::size"][::core::mem::offset_of!(stor_header, size) - 4usize];
    ["Offset of field: stor_header::flags"][::core::mem::offset_of!(stor_header, flags) - 8usize];
    ["Offset of field: stor_header::reserved"][::core::mem::offset_of!(stor_header, reserved) - 12usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_version {
    pub header: stor_header,
    pub abi_min: __u32,
    pub abi_max: __u32,
    pub engine_abi: __u32,
    pub reserved: __u32,
    pub front: [super::ctypes::c_char; 32usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_version"][::core::mem::size_of::<stor_version>() - 64usize];
    ["Alignment of stor_version"][::core::mem::align_of::<stor_version>() - 4usize];
    ["Offset of field: stor_version::header"][::core::mem::offset_of!(stor_version, header) - 0usize];
    ["Offset of field: stor_version::abi_min"][::core::mem::offset_of!(stor_version, abi_min) - 16usize];
    ["Offset of field: stor_version::abi_max"][::core::mem::offset_of!(stor_version, abi_max) - 20usize];
    ["Offset of field: stor_version::engine_abi"][::core::mem::offset_of!(stor_version, engine_abi) - 24usize];
    ["Offset of field: stor_version::reserved"][::core::mem::offset_of!(stor_version, reserved) - 28usize];
    ["Offset of field: stor_version::front"][::core::mem::offset_of!(stor_version, front) - 32usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_lower {
    pub fd: __s32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_lower"][::core::mem::size_of::<stor_lower>() - 8usize];
    ["Alignment of stor_lower"][::core::mem::align_of::<stor_lower>() - 4usize];
    ["Offset of field: stor_lower::fd"][::core::mem::offset_of!(stor_lower, fd) - 0usize];
    ["Offset of field: stor_lower::reserved"][::core::mem::offset_of!(stor_lower, reserved) - 4usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_linear_config {
    pub version: __u32,
    pub segment_count: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_linear_config"][::core::mem::size_of::<stor_linear_config>() - 8usize];
    ["Alignment of stor_linear_config"][::core::mem::align_of::<stor_linear_config>() - 4usize];
    ["Offset of field: stor_linear_config::version"][::core::mem::offset_of!(stor_linear_config, version) - 0usize];
    ["Offset of field: stor_linear_config::segment_count"]
        [::core::mem::offset_of!(stor_linear_config, segment_count) - 4usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_linear_segment {
    pub start: __u64,
    pub length: __u64,
    pub lower_start: __u64,
    pub lower: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_linear_segment"][::core::mem::size_of::<stor_linear_segment>() - 32usize];
    ["Alignment of stor_linear_segment"][::core::mem::align_of::<stor_linear_segment>() - 8usize];
    ["Offset of field: stor_linear_segment::start"][::core::mem::offset_of!(stor_linear_segment, start) - 0usize];
    ["Offset of field: stor_linear_segment::length"][::core::mem::offset_of!(stor_linear_segment, length) - 8usize];
    ["Offset of field: stor_linear_segment::lower_start"]
        [::core::mem::offset_of!(stor_linear_segment, lower_start) - 16usize];
    ["Offset of field: stor_linear_segment::lower"][::core::mem::offset_of!(stor_linear_segment, lower) - 24usize];
    ["Offset of field: stor_linear_segment::reserved"]
        [::core::mem::offset_of!(stor_linear_segment, reserved) - 28usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_thin_config {
    pub version: __u32,
    pub policy: __u32,
    pub device: __u64,
    pub reservation: __u64,
    pub timeout: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_thin_config"][::core::mem::size_of::<stor_thin_config>() - 32usize];
    ["Alignment of stor_thin_config"][::core::mem::align_of::<stor_thin_config>() - 8usize];
    ["Offset of field: stor_thin_config::version"][::core::mem::offset_of!(stor_thin_config, version) - 0usize];
    ["Offset of field: stor_thin_config::policy"][::core::mem::offset_of!(stor_thin_config, policy) - 4usize];
    ["Offset of field: stor_thin_config::device"][::core::mem::offset_of!(stor_thin_config, device) - 8usize];
    ["Offset of field: stor_thin_config::reservation"]
        [::core::mem::offset_of!(stor_thin_config, reservation) - 16usize];
    ["Offset of field: stor_thin_config::timeout"][::core::mem::offset_of!(stor_thin_config, timeout) - 24usize];
    ["Offset of field: stor_thin_config::reserved"][::core::mem::offset_of!(stor_thin_config, reserved) - 28usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_config {
    pub version: __u32,
    pub flags: __u32,
    pub metadata_segments: __u32,
    pub data_segments: __u32,
    pub data_block_size: __u32,
    pub policy: __u32,
    pub timeout: __u32,
    pub commit_interval: __u32,
    pub low_water: __u64,
    pub reserve: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_config"][::core::mem::size_of::<stor_pool_config>() - 48usize];
    ["Alignment of stor_pool_config"][::core::mem::align_of::<stor_pool_config>() - 8usize];
    ["Offset of field: stor_pool_config::version"][::core::mem::offset_of!(stor_pool_config, version) - 0usize];
    ["Offset of field: stor_pool_config::flags"][::core::mem::offset_of!(stor_pool_config, flags) - 4usize];
    ["Offset of field: stor_pool_config::metadata_segments"]
        [::core::mem::offset_of!(stor_pool_config, metadata_segments) - 8usize];
    ["Offset of field: stor_pool_config::data_segments"]
        [::core::mem::offset_of!(stor_pool_config, data_segments) - 12usize];
    ["Offset of field: stor_pool_config::data_block_size"]
        [::core::mem::offset_of!(stor_pool_config, data_block_size) - 16usize];
    ["Offset of field: stor_pool_config::policy"][::core::mem::offset_of!(stor_pool_config, policy) - 20usize];
    ["Offset of field: stor_pool_config::timeout"][::core::mem::offset_of!(stor_pool_config, timeout) - 24usize];
    ["Offset of field: stor_pool_config::commit_interval"]
        [::core::mem::offset_of!(stor_pool_config, commit_interval) - 28usize];
    ["Offset of field: stor_pool_config::low_water"][::core::mem::offset_of!(stor_pool_config, low_water) - 32usize];
    ["Offset of field: stor_pool_config::reserve"][::core::mem::offset_of!(stor_pool_config, reserve) - 40usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_replica_config {
    pub version: __u32,
    pub flags: __u32,
    pub array: [__u8; 16usize],
    pub lineage: [__u8; 16usize],
    pub machine: [__u8; 16usize],
    pub source: __u32,
    pub prefer: __u32,
    pub resync_rate: __u64,
    pub joins: [__u8; 16usize],
    pub leaves: [__u8; 16usize],
    pub mostly: [__u8; 16usize],
    pub slow: __u32,
    pub resync_latency: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_replica_config"][::core::mem::size_of::<stor_replica_config>() - 128usize];
    ["Alignment of stor_replica_config"][::core::mem::align_of::<stor_replica_config>() - 8usize];
    ["Offset of field: stor_replica_config::version"][::core::mem::offset_of!(stor_replica_config, version) - 0usize];
    ["Offset of field: stor_replica_config::flags"][::core::mem::offset_of!(stor_replica_config, flags) - 4usize];
    ["Offset of field: stor_replica_config::array"][::core::mem::offset_of!(stor_replica_config, array) - 8usize];
    ["Offset of field: stor_replica_config::lineage"][::core::mem::offset_of!(stor_replica_config, lineage) - 24usize];
    ["Offset of field: stor_replica_config::machine"][::core::mem::offset_of!(stor_replica_config, machine) - 40usize];
    ["Offset of field: stor_replica_config::source"][::core::mem::offset_of!(stor_replica_config, source) - 56usize];
    ["Offset of field: stor_replica_config::prefer"][::core::mem::offset_of!(stor_replica_config, prefer) - 60usize];
    ["Offset of field: stor_replica_config::resync_rate"]
        [::core::mem::offset_of!(stor_replica_config, resync_rate) - 64usize];
    ["Offset of field: stor_replica_config::joins"][::core::mem::offset_of!(stor_replica_config, joins) - 72usize];
    ["Offset of field: stor_replica_config::leaves"][::core::mem::offset_of!(stor_replica_config, leaves) - 88usize];
    ["Offset of field: stor_replica_config::mostly"][::core::mem::offset_of!(stor_replica_config, mostly) - 104usize];
    ["Offset of field: stor_replica_config::slow"][::core::mem::offset_of!(stor_replica_config, slow) - 120usize];
    ["Offset of field: stor_replica_config::resync_latency"]
        [::core::mem::offset_of!(stor_replica_config, resync_latency) - 124usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_create {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub name: [super::ctypes::c_char; 64usize],
    pub target: [super::ctypes::c_char; 16usize],
    pub size: __u64,
    pub lowers: __u64,
    pub config: __u64,
    pub lower_count: __u32,
    pub config_len: __u32,
    pub pool: [__u8; 16usize],
    pub index: __u32,
    pub major: __u32,
    pub minor: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_create"][::core::mem::size_of::<stor_create>() - 176usize];
    ["Alignment of stor_create"][::core::mem::align_of::<stor_create>() - 8usize];
    ["Offset of field: stor_create::header"][::core::mem::offset_of!(stor_create, header) - 0usize];
    ["Offset of field: stor_create::uuid"][::core::mem::offset_of!(stor_create, uuid) - 16usize];
    ["Offset of field: stor_create::name"][::core::mem::offset_of!(stor_create, name) - 32usize];
    ["Offset of field: stor_create::target"][::core::mem::offset_of!(stor_create, target) - 96usize];
    ["Offset of field: stor_create::size"][::core::mem::offset_of!(stor_create, size) - 112usize];
    ["Offset of field: stor_create::lowers"][::core::mem::offset_of!(stor_create, lowers) - 120usize];
    ["Offset of field: stor_create::config"][::core::mem::offset_of!(stor_create, config) - 128usize];
    ["Offset of field: stor_create::lower_count"][::core::mem::offset_of!(stor_create, lower_count) - 136usize];
    ["Offset of field: stor_create::config_len"][::core::mem::offset_of!(stor_create, config_len) - 140usize];
    ["Offset of field: stor_create::pool"][::core::mem::offset_of!(stor_create, pool) - 144usize];
    ["Offset of field: stor_create::index"][::core::mem::offset_of!(stor_create, index) - 160usize];
    ["Offset of field: stor_create::major"][::core::mem::offset_of!(stor_create, major) - 164usize];
    ["Offset of field: stor_create::minor"][::core::mem::offset_of!(stor_create, minor) - 168usize];
    ["Offset of field: stor_create::reserved"][::core::mem::offset_of!(stor_create, reserved) - 172usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_volume_ref {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_volume_ref"][::core::mem::size_of::<stor_volume_ref>() - 32usize];
    ["Alignment of stor_volume_ref"][::core::mem::align_of::<stor_volume_ref>() - 4usize];
    ["Offset of field: stor_volume_ref::header"][::core::mem::offset_of!(stor_volume_ref, header) - 0usize];
    ["Offset of field: stor_volume_ref::uuid"][::core::mem::offset_of!(stor_volume_ref, uuid) - 16usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_reload {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub size: __u64,
    pub lowers: __u64,
    pub config: __u64,
    pub lower_count: __u32,
    pub config_len: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_reload"][::core::mem::size_of::<stor_reload>() - 64usize];
    ["Alignment of stor_reload"][::core::mem::align_of::<stor_reload>() - 8usize];
    ["Offset of field: stor_reload::header"][::core::mem::offset_of!(stor_reload, header) - 0usize];
    ["Offset of field: stor_reload::uuid"][::core::mem::offset_of!(stor_reload, uuid) - 16usize];
    ["Offset of field: stor_reload::size"][::core::mem::offset_of!(stor_reload, size) - 32usize];
    ["Offset of field: stor_reload::lowers"][::core::mem::offset_of!(stor_reload, lowers) - 40usize];
    ["Offset of field: stor_reload::config"][::core::mem::offset_of!(stor_reload, config) - 48usize];
    ["Offset of field: stor_reload::lower_count"][::core::mem::offset_of!(stor_reload, lower_count) - 56usize];
    ["Offset of field: stor_reload::config_len"][::core::mem::offset_of!(stor_reload, config_len) - 60usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_insert {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub below_uuid: [__u8; 16usize],
    pub joined_uuid: [__u8; 16usize],
    pub below_name: [super::ctypes::c_char; 64usize],
    pub joined_name: [super::ctypes::c_char; 64usize],
    pub joined_target: [super::ctypes::c_char; 16usize],
    pub target: [super::ctypes::c_char; 16usize],
    pub joined_size: __u64,
    pub lowers: __u64,
    pub joined_config: __u64,
    pub config: __u64,
    pub lower_count: __u32,
    pub joined_config_len: __u32,
    pub config_len: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_insert"][::core::mem::size_of::<stor_insert>() - 272usize];
    ["Alignment of stor_insert"][::core::mem::align_of::<stor_insert>() - 8usize];
    ["Offset of field: stor_insert::header"][::core::mem::offset_of!(stor_insert, header) - 0usize];
    ["Offset of field: stor_insert::uuid"][::core::mem::offset_of!(stor_insert, uuid) - 16usize];
    ["Offset of field: stor_insert::below_uuid"][::core::mem::offset_of!(stor_insert, below_uuid) - 32usize];
    ["Offset of field: stor_insert::joined_uuid"][::core::mem::offset_of!(stor_insert, joined_uuid) - 48usize];
    ["Offset of field: stor_insert::below_name"][::core::mem::offset_of!(stor_insert, below_name) - 64usize];
    ["Offset of field: stor_insert::joined_name"][::core::mem::offset_of!(stor_insert, joined_name) - 128usize];
    ["Offset of field: stor_insert::joined_target"][::core::mem::offset_of!(stor_insert, joined_target) - 192usize];
    ["Offset of field: stor_insert::target"][::core::mem::offset_of!(stor_insert, target) - 208usize];
    ["Offset of field: stor_insert::joined_size"][::core::mem::offset_of!(stor_insert, joined_size) - 224usize];
    ["Offset of field: stor_insert::lowers"][::core::mem::offset_of!(stor_insert, lowers) - 232usize];
    ["Offset of field: stor_insert::joined_config"][::core::mem::offset_of!(stor_insert, joined_config) - 240usize];
    ["Offset of field: stor_insert::config"][::core::mem::offset_of!(stor_insert, config) - 248usize];
    ["Offset of field: stor_insert::lower_count"][::core::mem::offset_of!(stor_insert, lower_count) - 256usize];
    ["Offset of field: stor_insert::joined_config_len"]
        [::core::mem::offset_of!(stor_insert, joined_config_len) - 260usize];
    ["Offset of field: stor_insert::config_len"][::core::mem::offset_of!(stor_insert, config_len) - 264usize];
    ["Offset of field: stor_insert::reserved"][::core::mem::offset_of!(stor_insert, reserved) - 268usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_set {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub mask: __u32,
    pub value: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_set"][::core::mem::size_of::<stor_set>() - 40usize];
    ["Alignment of stor_set"][::core::mem::align_of::<stor_set>() - 4usize];
    ["Offset of field: stor_set::header"][::core::mem::offset_of!(stor_set, header) - 0usize];
    ["Offset of field: stor_set::uuid"][::core::mem::offset_of!(stor_set, uuid) - 16usize];
    ["Offset of field: stor_set::mask"][::core::mem::offset_of!(stor_set, mask) - 32usize];
    ["Offset of field: stor_set::value"][::core::mem::offset_of!(stor_set, value) - 36usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_rename {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub name: [super::ctypes::c_char; 64usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_rename"][::core::mem::size_of::<stor_rename>() - 96usize];
    ["Alignment of stor_rename"][::core::mem::align_of::<stor_rename>() - 4usize];
    ["Offset of field: stor_rename::header"][::core::mem::offset_of!(stor_rename, header) - 0usize];
    ["Offset of field: stor_rename::uuid"][::core::mem::offset_of!(stor_rename, uuid) - 16usize];
    ["Offset of field: stor_rename::name"][::core::mem::offset_of!(stor_rename, name) - 32usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_volume_info {
    pub uuid: [__u8; 16usize],
    pub name: [super::ctypes::c_char; 64usize],
    pub target: [super::ctypes::c_char; 16usize],
    pub engine: [super::ctypes::c_char; 32usize],
    pub pool: [__u8; 16usize],
    pub size: __u64,
    pub index: __u32,
    pub major: __u32,
    pub minor: __u32,
    pub state: __u32,
    pub open_count: __u32,
    pub lower_count: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_volume_info"][::core::mem::size_of::<stor_volume_info>() - 176usize];
    ["Alignment of stor_volume_info"][::core::mem::align_of::<stor_volume_info>() - 8usize];
    ["Offset of field: stor_volume_info::uuid"][::core::mem::offset_of!(stor_volume_info, uuid) - 0usize];
    ["Offset of field: stor_volume_info::name"][::core::mem::offset_of!(stor_volume_info, name) - 16usize];
    ["Offset of field: stor_volume_info::target"][::core::mem::offset_of!(stor_volume_info, target) - 80usize];
    ["Offset of field: stor_volume_info::engine"][::core::mem::offset_of!(stor_volume_info, engine) - 96usize];
    ["Offset of field: stor_volume_info::pool"][::core::mem::offset_of!(stor_volume_info, pool) - 128usize];
    ["Offset of field: stor_volume_info::size"][::core::mem::offset_of!(stor_volume_info, size) - 144usize];
    ["Offset of field: stor_volume_info::index"][::core::mem::offset_of!(stor_volume_info, index) - 152usize];
    ["Offset of field: stor_volume_info::major"][::core::mem::offset_of!(stor_volume_info, major) - 156usize];
    ["Offset of field: stor_volume_info::minor"][::core::mem::offset_of!(stor_volume_info, minor) - 160usize];
    ["Offset of field: stor_volume_info::state"][::core::mem::offset_of!(stor_volume_info, state) - 164usize];
    ["Offset of field: stor_volume_info::open_count"][::core::mem::offset_of!(stor_volume_info, open_count) - 168usize];
    ["Offset of field: stor_volume_info::lower_count"]
        [::core::mem::offset_of!(stor_volume_info, lower_count) - 172usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_list {
    pub header: stor_header,
    pub entries: __u64,
    pub capacity: __u32,
    pub count: __u32,
    pub generation: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_list"][::core::mem::size_of::<stor_list>() - 40usize];
    ["Alignment of stor_list"][::core::mem::align_of::<stor_list>() - 8usize];
    ["Offset of field: stor_list::header"][::core::mem::offset_of!(stor_list, header) - 0usize];
    ["Offset of field: stor_list::entries"][::core::mem::offset_of!(stor_list, entries) - 16usize];
    ["Offset of field: stor_list::capacity"][::core::mem::offset_of!(stor_list, capacity) - 24usize];
    ["Offset of field: stor_list::count"][::core::mem::offset_of!(stor_list, count) - 28usize];
    ["Offset of field: stor_list::generation"][::core::mem::offset_of!(stor_list, generation) - 32usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_lower_status {
    pub major: __u32,
    pub minor: __u32,
    pub state: __u32,
    pub reserved: __u32,
    pub size: __u64,
    pub disk: [super::ctypes::c_char; 32usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_lower_status"][::core::mem::size_of::<stor_lower_status>() - 56usize];
    ["Alignment of stor_lower_status"][::core::mem::align_of::<stor_lower_status>() - 8usize];
    ["Offset of field: stor_lower_status::major"][::core::mem::offset_of!(stor_lower_status, major) - 0usize];
    ["Offset of field: stor_lower_status::minor"][::core::mem::offset_of!(stor_lower_status, minor) - 4usize];
    ["Offset of field: stor_lower_status::state"][::core::mem::offset_of!(stor_lower_status, state) - 8usize];
    ["Offset of field: stor_lower_status::reserved"][::core::mem::offset_of!(stor_lower_status, reserved) - 12usize];
    ["Offset of field: stor_lower_status::size"][::core::mem::offset_of!(stor_lower_status, size) - 16usize];
    ["Offset of field: stor_lower_status::disk"][::core::mem::offset_of!(stor_lower_status, disk) - 24usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_status {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub info: stor_volume_info,
    pub logical_block_size: __u32,
    pub physical_block_size: __u32,
    pub wait: __u32,
    pub in_flight: __u32,
    pub wait_since: __u64,
    pub errors: __u64,
    pub lowers: __u64,
    pub config: __u64,
    pub lower_capacity: __u32,
    pub config_capacity: __u32,
    pub config_len: __u32,
    pub last_error: __s32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_status"][::core::mem::size_of::<stor_status>() - 272usize];
    ["Alignment of stor_status"][::core::mem::align_of::<stor_status>() - 8usize];
    ["Offset of field: stor_status::header"][::core::mem::offset_of!(stor_status, header) - 0usize];
    ["Offset of field: stor_status::uuid"][::core::mem::offset_of!(stor_status, uuid) - 16usize];
    ["Offset of field: stor_status::info"][::core::mem::offset_of!(stor_status, info) - 32usize];
    ["Offset of field: stor_status::logical_block_size"]
        [::core::mem::offset_of!(stor_status, logical_block_size) - 208usize];
    ["Offset of field: stor_status::physical_block_size"]
        [::core::mem::offset_of!(stor_status, physical_block_size) - 212usize];
    ["Offset of field: stor_status::wait"][::core::mem::offset_of!(stor_status, wait) - 216usize];
    ["Offset of field: stor_status::in_flight"][::core::mem::offset_of!(stor_status, in_flight) - 220usize];
    ["Offset of field: stor_status::wait_since"][::core::mem::offset_of!(stor_status, wait_since) - 224usize];
    ["Offset of field: stor_status::errors"][::core::mem::offset_of!(stor_status, errors) - 232usize];
    ["Offset of field: stor_status::lowers"][::core::mem::offset_of!(stor_status, lowers) - 240usize];
    ["Offset of field: stor_status::config"][::core::mem::offset_of!(stor_status, config) - 248usize];
    ["Offset of field: stor_status::lower_capacity"][::core::mem::offset_of!(stor_status, lower_capacity) - 256usize];
    ["Offset of field: stor_status::config_capacity"][::core::mem::offset_of!(stor_status, config_capacity) - 260usize];
    ["Offset of field: stor_status::config_len"][::core::mem::offset_of!(stor_status, config_len) - 264usize];
    ["Offset of field: stor_status::last_error"][::core::mem::offset_of!(stor_status, last_error) - 268usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_create {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub name: [super::ctypes::c_char; 64usize],
    pub target: [super::ctypes::c_char; 16usize],
    pub lowers: __u64,
    pub config: __u64,
    pub lower_count: __u32,
    pub config_len: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_create"][::core::mem::size_of::<stor_pool_create>() - 136usize];
    ["Alignment of stor_pool_create"][::core::mem::align_of::<stor_pool_create>() - 8usize];
    ["Offset of field: stor_pool_create::header"][::core::mem::offset_of!(stor_pool_create, header) - 0usize];
    ["Offset of field: stor_pool_create::uuid"][::core::mem::offset_of!(stor_pool_create, uuid) - 16usize];
    ["Offset of field: stor_pool_create::name"][::core::mem::offset_of!(stor_pool_create, name) - 32usize];
    ["Offset of field: stor_pool_create::target"][::core::mem::offset_of!(stor_pool_create, target) - 96usize];
    ["Offset of field: stor_pool_create::lowers"][::core::mem::offset_of!(stor_pool_create, lowers) - 112usize];
    ["Offset of field: stor_pool_create::config"][::core::mem::offset_of!(stor_pool_create, config) - 120usize];
    ["Offset of field: stor_pool_create::lower_count"]
        [::core::mem::offset_of!(stor_pool_create, lower_count) - 128usize];
    ["Offset of field: stor_pool_create::config_len"][::core::mem::offset_of!(stor_pool_create, config_len) - 132usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_reload {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub lowers: __u64,
    pub config: __u64,
    pub lower_count: __u32,
    pub config_len: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_reload"][::core::mem::size_of::<stor_pool_reload>() - 56usize];
    ["Alignment of stor_pool_reload"][::core::mem::align_of::<stor_pool_reload>() - 8usize];
    ["Offset of field: stor_pool_reload::header"][::core::mem::offset_of!(stor_pool_reload, header) - 0usize];
    ["Offset of field: stor_pool_reload::uuid"][::core::mem::offset_of!(stor_pool_reload, uuid) - 16usize];
    ["Offset of field: stor_pool_reload::lowers"][::core::mem::offset_of!(stor_pool_reload, lowers) - 32usize];
    ["Offset of field: stor_pool_reload::config"][::core::mem::offset_of!(stor_pool_reload, config) - 40usize];
    ["Offset of field: stor_pool_reload::lower_count"]
        [::core::mem::offset_of!(stor_pool_reload, lower_count) - 48usize];
    ["Offset of field: stor_pool_reload::config_len"][::core::mem::offset_of!(stor_pool_reload, config_len) - 52usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_item {
    pub device: __u64,
    pub origin: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_item"][::core::mem::size_of::<stor_pool_item>() - 16usize];
    ["Alignment of stor_pool_item"][::core::mem::align_of::<stor_pool_item>() - 8usize];
    ["Offset of field: stor_pool_item::device"][::core::mem::offset_of!(stor_pool_item, device) - 0usize];
    ["Offset of field: stor_pool_item::origin"][::core::mem::offset_of!(stor_pool_item, origin) - 8usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_change {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub change: __u32,
    pub item_count: __u32,
    pub items: __u64,
    pub transaction_old: __u64,
    pub transaction_new: __u64,
    pub held_root: __u64,
    pub pause: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_change"][::core::mem::size_of::<stor_pool_change>() - 80usize];
    ["Alignment of stor_pool_change"][::core::mem::align_of::<stor_pool_change>() - 8usize];
    ["Offset of field: stor_pool_change::header"][::core::mem::offset_of!(stor_pool_change, header) - 0usize];
    ["Offset of field: stor_pool_change::uuid"][::core::mem::offset_of!(stor_pool_change, uuid) - 16usize];
    ["Offset of field: stor_pool_change::change"][::core::mem::offset_of!(stor_pool_change, change) - 32usize];
    ["Offset of field: stor_pool_change::item_count"][::core::mem::offset_of!(stor_pool_change, item_count) - 36usize];
    ["Offset of field: stor_pool_change::items"][::core::mem::offset_of!(stor_pool_change, items) - 40usize];
    ["Offset of field: stor_pool_change::transaction_old"]
        [::core::mem::offset_of!(stor_pool_change, transaction_old) - 48usize];
    ["Offset of field: stor_pool_change::transaction_new"]
        [::core::mem::offset_of!(stor_pool_change, transaction_new) - 56usize];
    ["Offset of field: stor_pool_change::held_root"][::core::mem::offset_of!(stor_pool_change, held_root) - 64usize];
    ["Offset of field: stor_pool_change::pause"][::core::mem::offset_of!(stor_pool_change, pause) - 72usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_info {
    pub uuid: [__u8; 16usize],
    pub name: [super::ctypes::c_char; 64usize],
    pub target: [super::ctypes::c_char; 16usize],
    pub engine: [super::ctypes::c_char; 32usize],
    pub state: __u32,
    pub volumes: __u32,
    pub lower_count: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_info"][::core::mem::size_of::<stor_pool_info>() - 144usize];
    ["Alignment of stor_pool_info"][::core::mem::align_of::<stor_pool_info>() - 4usize];
    ["Offset of field: stor_pool_info::uuid"][::core::mem::offset_of!(stor_pool_info, uuid) - 0usize];
    ["Offset of field: stor_pool_info::name"][::core::mem::offset_of!(stor_pool_info, name) - 16usize];
    ["Offset of field: stor_pool_info::target"][::core::mem::offset_of!(stor_pool_info, target) - 80usize];
    ["Offset of field: stor_pool_info::engine"][::core::mem::offset_of!(stor_pool_info, engine) - 96usize];
    ["Offset of field: stor_pool_info::state"][::core::mem::offset_of!(stor_pool_info, state) - 128usize];
    ["Offset of field: stor_pool_info::volumes"][::core::mem::offset_of!(stor_pool_info, volumes) - 132usize];
    ["Offset of field: stor_pool_info::lower_count"][::core::mem::offset_of!(stor_pool_info, lower_count) - 136usize];
    ["Offset of field: stor_pool_info::reserved"][::core::mem::offset_of!(stor_pool_info, reserved) - 140usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_list {
    pub header: stor_header,
    pub entries: __u64,
    pub capacity: __u32,
    pub count: __u32,
    pub generation: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_list"][::core::mem::size_of::<stor_pool_list>() - 40usize];
    ["Alignment of stor_pool_list"][::core::mem::align_of::<stor_pool_list>() - 8usize];
    ["Offset of field: stor_pool_list::header"][::core::mem::offset_of!(stor_pool_list, header) - 0usize];
    ["Offset of field: stor_pool_list::entries"][::core::mem::offset_of!(stor_pool_list, entries) - 16usize];
    ["Offset of field: stor_pool_list::capacity"][::core::mem::offset_of!(stor_pool_list, capacity) - 24usize];
    ["Offset of field: stor_pool_list::count"][::core::mem::offset_of!(stor_pool_list, count) - 28usize];
    ["Offset of field: stor_pool_list::generation"][::core::mem::offset_of!(stor_pool_list, generation) - 32usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_facts {
    pub mode: __u32,
    pub flags: __u32,
    pub data_size: __u64,
    pub data_used: __u64,
    pub metadata_size: __u64,
    pub metadata_used: __u64,
    pub metadata_reserve: __u64,
    pub transaction: __u64,
    pub held_root: __u64,
    pub snapshots_left: __u64,
    pub deleting: __u64,
    pub waiting: __u64,
    pub wait_since: __u64,
    pub memory: __u64,
    pub commits: __u64,
    pub wait: __u32,
    pub last_error: __s32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_facts"][::core::mem::size_of::<stor_pool_facts>() - 120usize];
    ["Alignment of stor_pool_facts"][::core::mem::align_of::<stor_pool_facts>() - 8usize];
    ["Offset of field: stor_pool_facts::mode"][::core::mem::offset_of!(stor_pool_facts, mode) - 0usize];
    ["Offset of field: stor_pool_facts::flags"][::core::mem::offset_of!(stor_pool_facts, flags) - 4usize];
    ["Offset of field: stor_pool_facts::data_size"][::core::mem::offset_of!(stor_pool_facts, data_size) - 8usize];
    ["Offset of field: stor_pool_facts::data_used"][::core::mem::offset_of!(stor_pool_facts, data_used) - 16usize];
    ["Offset of field: stor_pool_facts::metadata_size"]
        [::core::mem::offset_of!(stor_pool_facts, metadata_size) - 24usize];
    ["Offset of field: stor_pool_facts::metadata_used"]
        [::core::mem::offset_of!(stor_pool_facts, metadata_used) - 32usize];
    ["Offset of field: stor_pool_facts::metadata_reserve"]
        [::core::mem::offset_of!(stor_pool_facts, metadata_reserve) - 40usize];
    ["Offset of field: stor_pool_facts::transaction"][::core::mem::offset_of!(stor_pool_facts, transaction) - 48usize];
    ["Offset of field: stor_pool_facts::held_root"][::core::mem::offset_of!(stor_pool_facts, held_root) - 56usize];
    ["Offset of field: stor_pool_facts::snapshots_left"]
        [::core::mem::offset_of!(stor_pool_facts, snapshots_left) - 64usize];
    ["Offset of field: stor_pool_facts::deleting"][::core::mem::offset_of!(stor_pool_facts, deleting) - 72usize];
    ["Offset of field: stor_pool_facts::waiting"][::core::mem::offset_of!(stor_pool_facts, waiting) - 80usize];
    ["Offset of field: stor_pool_facts::wait_since"][::core::mem::offset_of!(stor_pool_facts, wait_since) - 88usize];
    ["Offset of field: stor_pool_facts::memory"][::core::mem::offset_of!(stor_pool_facts, memory) - 96usize];
    ["Offset of field: stor_pool_facts::commits"][::core::mem::offset_of!(stor_pool_facts, commits) - 104usize];
    ["Offset of field: stor_pool_facts::wait"][::core::mem::offset_of!(stor_pool_facts, wait) - 112usize];
    ["Offset of field: stor_pool_facts::last_error"][::core::mem::offset_of!(stor_pool_facts, last_error) - 116usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_status {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub info: stor_pool_info,
    pub facts: stor_pool_facts,
    pub lowers: __u64,
    pub config: __u64,
    pub lower_capacity: __u32,
    pub config_capacity: __u32,
    pub config_len: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_status"][::core::mem::size_of::<stor_pool_status>() - 328usize];
    ["Alignment of stor_pool_status"][::core::mem::align_of::<stor_pool_status>() - 8usize];
    ["Offset of field: stor_pool_status::header"][::core::mem::offset_of!(stor_pool_status, header) - 0usize];
    ["Offset of field: stor_pool_status::uuid"][::core::mem::offset_of!(stor_pool_status, uuid) - 16usize];
    ["Offset of field: stor_pool_status::info"][::core::mem::offset_of!(stor_pool_status, info) - 32usize];
    ["Offset of field: stor_pool_status::facts"][::core::mem::offset_of!(stor_pool_status, facts) - 176usize];
    ["Offset of field: stor_pool_status::lowers"][::core::mem::offset_of!(stor_pool_status, lowers) - 296usize];
    ["Offset of field: stor_pool_status::config"][::core::mem::offset_of!(stor_pool_status, config) - 304usize];
    ["Offset of field: stor_pool_status::lower_capacity"]
        [::core::mem::offset_of!(stor_pool_status, lower_capacity) - 312usize];
    ["Offset of field: stor_pool_status::config_capacity"]
        [::core::mem::offset_of!(stor_pool_status, config_capacity) - 316usize];
    ["Offset of field: stor_pool_status::config_len"][::core::mem::offset_of!(stor_pool_status, config_len) - 320usize];
    ["Offset of field: stor_pool_status::reserved"][::core::mem::offset_of!(stor_pool_status, reserved) - 324usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_pool_device {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub device: __u64,
    pub mapped: __u64,
    pub exclusive: __u64,
    pub transaction: __u64,
    pub created: __u32,
    pub snapshotted: __u32,
    pub state: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_pool_device"][::core::mem::size_of::<stor_pool_device>() - 80usize];
    ["Alignment of stor_pool_device"][::core::mem::align_of::<stor_pool_device>() - 8usize];
    ["Offset of field: stor_pool_device::header"][::core::mem::offset_of!(stor_pool_device, header) - 0usize];
    ["Offset of field: stor_pool_device::uuid"][::core::mem::offset_of!(stor_pool_device, uuid) - 16usize];
    ["Offset of field: stor_pool_device::device"][::core::mem::offset_of!(stor_pool_device, device) - 32usize];
    ["Offset of field: stor_pool_device::mapped"][::core::mem::offset_of!(stor_pool_device, mapped) - 40usize];
    ["Offset of field: stor_pool_device::exclusive"][::core::mem::offset_of!(stor_pool_device, exclusive) - 48usize];
    ["Offset of field: stor_pool_device::transaction"]
        [::core::mem::offset_of!(stor_pool_device, transaction) - 56usize];
    ["Offset of field: stor_pool_device::created"][::core::mem::offset_of!(stor_pool_device, created) - 64usize];
    ["Offset of field: stor_pool_device::snapshotted"]
        [::core::mem::offset_of!(stor_pool_device, snapshotted) - 68usize];
    ["Offset of field: stor_pool_device::state"][::core::mem::offset_of!(stor_pool_device, state) - 72usize];
    ["Offset of field: stor_pool_device::reserved"][::core::mem::offset_of!(stor_pool_device, reserved) - 76usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_replica_leg {
    pub uuid: [__u8; 16usize],
    pub state: __u32,
    pub lower: __u32,
    pub read_errors: __u64,
    pub write_errors: __u64,
    pub repaired: __u64,
    pub read_time: __u64,
    pub write_time: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_replica_leg"][::core::mem::size_of::<stor_replica_leg>() - 64usize];
    ["Alignment of stor_replica_leg"][::core::mem::align_of::<stor_replica_leg>() - 8usize];
    ["Offset of field: stor_replica_leg::uuid"][::core::mem::offset_of!(stor_replica_leg, uuid) - 0usize];
    ["Offset of field: stor_replica_leg::state"][::core::mem::offset_of!(stor_replica_leg, state) - 16usize];
    ["Offset of field: stor_replica_leg::lower"][::core::mem::offset_of!(stor_replica_leg, lower) - 20usize];
    ["Offset of field: stor_replica_leg::read_errors"]
        [::core::mem::offset_of!(stor_replica_leg, read_errors) - 24usize];
    ["Offset of field: stor_replica_leg::write_errors"]
        [::core::mem::offset_of!(stor_replica_leg, write_errors) - 32usize];
    ["Offset of field: stor_replica_leg::repaired"][::core::mem::offset_of!(stor_replica_leg, repaired) - 40usize];
    ["Offset of field: stor_replica_leg::read_time"][::core::mem::offset_of!(stor_replica_leg, read_time) - 48usize];
    ["Offset of field: stor_replica_leg::write_time"][::core::mem::offset_of!(stor_replica_leg, write_time) - 56usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_replica_facts {
    pub stop: __u32,
    pub slots: __u32,
    pub epoch: __u64,
    pub lineage: [__u8; 16usize],
    pub events: __u64,
    pub chunk_size: __u64,
    pub chunks: __u64,
    pub dirty: __u64,
    pub needed: __u64,
    pub copied: __u64,
    pub position: __u64,
    pub waiting: __u64,
    pub memory: __u64,
    pub rebuild_time: __u64,
    pub rebuild_copied: __u64,
    pub rebuild_left: __u64,
    pub waits_time: __u64,
    pub waits: __u32,
    pub reserved: __u32,
    pub leg: [stor_replica_leg; 17usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_replica_facts"][::core::mem::size_of::<stor_replica_facts>() - 1232usize];
    ["Alignment of stor_replica_facts"][::core::mem::align_of::<stor_replica_facts>() - 8usize];
    ["Offset of field: stor_replica_facts::stop"][::core::mem::offset_of!(stor_replica_facts, stop) - 0usize];
    ["Offset of field: stor_replica_facts::slots"][::core::mem::offset_of!(stor_replica_facts, slots) - 4usize];
    ["Offset of field: stor_replica_facts::epoch"][::core::mem::offset_of!(stor_replica_facts, epoch) - 8usize];
    ["Offset of field: stor_replica_facts::lineage"][::core::mem::offset_of!(stor_replica_facts, lineage) - 16usize];
    ["Offset of field: stor_replica_facts::events"][::core::mem::offset_of!(stor_replica_facts, events) - 32usize];
    ["Offset of field: stor_replica_facts::chunk_size"]
        [::core::mem::offset_of!(stor_replica_facts, chunk_size) - 40usize];
    ["Offset of field: stor_replica_facts::chunks"][::core::mem::offset_of!(stor_replica_facts, chunks) - 48usize];
    ["Offset of field: stor_replica_facts::dirty"][::core::mem::offset_of!(stor_replica_facts, dirty) - 56usize];
    ["Offset of field: stor_replica_facts::needed"][::core::mem::offset_of!(stor_replica_facts, needed) - 64usize];
    ["Offset of field: stor_replica_facts::copied"][::core::mem::offset_of!(stor_replica_facts, copied) - 72usize];
    ["Offset of field: stor_replica_facts::position"][::core::mem::offset_of!(stor_replica_facts, position) - 80usize];
    ["Offset of field: stor_replica_facts::waiting"][::core::mem::offset_of!(stor_replica_facts, waiting) - 88usize];
    ["Offset of field: stor_replica_facts::memory"][::core::mem::offset_of!(stor_replica_facts, memory) - 96usize];
    ["Offset of field: stor_replica_facts::rebuild_time"]
        [::core::mem::offset_of!(stor_replica_facts, rebuild_time) - 104usize];
    ["Offset of field: stor_replica_facts::rebuild_copied"]
        [::core::mem::offset_of!(stor_replica_facts, rebuild_copied) - 112usize];
    ["Offset of field: stor_replica_facts::rebuild_left"]
        [::core::mem::offset_of!(stor_replica_facts, rebuild_left) - 120usize];
    ["Offset of field: stor_replica_facts::waits_time"]
        [::core::mem::offset_of!(stor_replica_facts, waits_time) - 128usize];
    ["Offset of field: stor_replica_facts::waits"][::core::mem::offset_of!(stor_replica_facts, waits) - 136usize];
    ["Offset of field: stor_replica_facts::reserved"][::core::mem::offset_of!(stor_replica_facts, reserved) - 140usize];
    ["Offset of field: stor_replica_facts::leg"][::core::mem::offset_of!(stor_replica_facts, leg) - 144usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_replica_status {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub facts: stor_replica_facts,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_replica_status"][::core::mem::size_of::<stor_replica_status>() - 1264usize];
    ["Alignment of stor_replica_status"][::core::mem::align_of::<stor_replica_status>() - 8usize];
    ["Offset of field: stor_replica_status::header"][::core::mem::offset_of!(stor_replica_status, header) - 0usize];
    ["Offset of field: stor_replica_status::uuid"][::core::mem::offset_of!(stor_replica_status, uuid) - 16usize];
    ["Offset of field: stor_replica_status::facts"][::core::mem::offset_of!(stor_replica_status, facts) - 32usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_replica_range {
    pub start: __u64,
    pub length: __u64,
    pub legs: __u32,
    pub repaired: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_replica_range"][::core::mem::size_of::<stor_replica_range>() - 24usize];
    ["Alignment of stor_replica_range"][::core::mem::align_of::<stor_replica_range>() - 8usize];
    ["Offset of field: stor_replica_range::start"][::core::mem::offset_of!(stor_replica_range, start) - 0usize];
    ["Offset of field: stor_replica_range::length"][::core::mem::offset_of!(stor_replica_range, length) - 8usize];
    ["Offset of field: stor_replica_range::legs"][::core::mem::offset_of!(stor_replica_range, legs) - 16usize];
    ["Offset of field: stor_replica_range::repaired"][::core::mem::offset_of!(stor_replica_range, repaired) - 20usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_replica_verify {
    pub header: stor_header,
    pub uuid: [__u8; 16usize],
    pub start: __u64,
    pub end: __u64,
    pub repaired: __u64,
    pub source: __u32,
    pub count: __u32,
    pub range: [stor_replica_range; 80usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_replica_verify"][::core::mem::size_of::<stor_replica_verify>() - 1984usize];
    ["Alignment of stor_replica_verify"][::core::mem::align_of::<stor_replica_verify>() - 8usize];
    ["Offset of field: stor_replica_verify::header"][::core::mem::offset_of!(stor_replica_verify, header) - 0usize];
    ["Offset of field: stor_replica_verify::uuid"][::core::mem::offset_of!(stor_replica_verify, uuid) - 16usize];
    ["Offset of field: stor_replica_verify::start"][::core::mem::offset_of!(stor_replica_verify, start) - 32usize];
    ["Offset of field: stor_replica_verify::end"][::core::mem::offset_of!(stor_replica_verify, end) - 40usize];
    ["Offset of field: stor_replica_verify::repaired"]
        [::core::mem::offset_of!(stor_replica_verify, repaired) - 48usize];
    ["Offset of field: stor_replica_verify::source"][::core::mem::offset_of!(stor_replica_verify, source) - 56usize];
    ["Offset of field: stor_replica_verify::count"][::core::mem::offset_of!(stor_replica_verify, count) - 60usize];
    ["Offset of field: stor_replica_verify::range"][::core::mem::offset_of!(stor_replica_verify, range) - 64usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_engine_info {
    pub version: [super::ctypes::c_char; 32usize],
    pub abi: __u32,
    pub state: __u32,
    pub volumes: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_engine_info"][::core::mem::size_of::<stor_engine_info>() - 48usize];
    ["Alignment of stor_engine_info"][::core::mem::align_of::<stor_engine_info>() - 4usize];
    ["Offset of field: stor_engine_info::version"][::core::mem::offset_of!(stor_engine_info, version) - 0usize];
    ["Offset of field: stor_engine_info::abi"][::core::mem::offset_of!(stor_engine_info, abi) - 32usize];
    ["Offset of field: stor_engine_info::state"][::core::mem::offset_of!(stor_engine_info, state) - 36usize];
    ["Offset of field: stor_engine_info::volumes"][::core::mem::offset_of!(stor_engine_info, volumes) - 40usize];
    ["Offset of field: stor_engine_info::reserved"][::core::mem::offset_of!(stor_engine_info, reserved) - 44usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_engine_list {
    pub header: stor_header,
    pub entries: __u64,
    pub capacity: __u32,
    pub count: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_engine_list"][::core::mem::size_of::<stor_engine_list>() - 32usize];
    ["Alignment of stor_engine_list"][::core::mem::align_of::<stor_engine_list>() - 8usize];
    ["Offset of field: stor_engine_list::header"][::core::mem::offset_of!(stor_engine_list, header) - 0usize];
    ["Offset of field: stor_engine_list::entries"][::core::mem::offset_of!(stor_engine_list, entries) - 16usize];
    ["Offset of field: stor_engine_list::capacity"][::core::mem::offset_of!(stor_engine_list, capacity) - 24usize];
    ["Offset of field: stor_engine_list::count"][::core::mem::offset_of!(stor_engine_list, count) - 28usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_switch_result {
    pub uuid: [__u8; 16usize],
    pub outcome: __u32,
    pub error: __s32,
    pub pause: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_switch_result"][::core::mem::size_of::<stor_switch_result>() - 32usize];
    ["Alignment of stor_switch_result"][::core::mem::align_of::<stor_switch_result>() - 8usize];
    ["Offset of field: stor_switch_result::uuid"][::core::mem::offset_of!(stor_switch_result, uuid) - 0usize];
    ["Offset of field: stor_switch_result::outcome"][::core::mem::offset_of!(stor_switch_result, outcome) - 16usize];
    ["Offset of field: stor_switch_result::error"][::core::mem::offset_of!(stor_switch_result, error) - 20usize];
    ["Offset of field: stor_switch_result::pause"][::core::mem::offset_of!(stor_switch_result, pause) - 24usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_engine_switch {
    pub header: stor_header,
    pub version: [super::ctypes::c_char; 32usize],
    pub results: __u64,
    pub capacity: __u32,
    pub count: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_engine_switch"][::core::mem::size_of::<stor_engine_switch>() - 64usize];
    ["Alignment of stor_engine_switch"][::core::mem::align_of::<stor_engine_switch>() - 8usize];
    ["Offset of field: stor_engine_switch::header"][::core::mem::offset_of!(stor_engine_switch, header) - 0usize];
    ["Offset of field: stor_engine_switch::version"][::core::mem::offset_of!(stor_engine_switch, version) - 16usize];
    ["Offset of field: stor_engine_switch::results"][::core::mem::offset_of!(stor_engine_switch, results) - 48usize];
    ["Offset of field: stor_engine_switch::capacity"][::core::mem::offset_of!(stor_engine_switch, capacity) - 56usize];
    ["Offset of field: stor_engine_switch::count"][::core::mem::offset_of!(stor_engine_switch, count) - 60usize];
};
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct stor_event {
    pub sequence: __u64,
    pub time: __u64,
    pub value: __u64,
    pub type_: __u32,
    pub reserved: __u32,
    pub uuid: [__u8; 16usize],
    pub name: [super::ctypes::c_char; 64usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of stor_event"][::core::mem::size_of::<stor_event>() - 112usize];
    ["Alignment of stor_event"][::core::mem::align_of::<stor_event>() - 8usize];
    ["Offset of field: stor_event::sequence"][::core::mem::offset_of!(stor_event, sequence) - 0usize];
    ["Offset of field: stor_event::time"][::core::mem::offset_of!(stor_event, time) - 8usize];
    ["Offset of field: stor_event::value"][::core::mem::offset_of!(stor_event, value) - 16usize];
    ["Offset of field: stor_event::type_"][::core::mem::offset_of!(stor_event, type_) - 24usize];
    ["Offset of field: stor_event::reserved"][::core::mem::offset_of!(stor_event, reserved) - 28usize];
    ["Offset of field: stor_event::uuid"][::core::mem::offset_of!(stor_event, uuid) - 32usize];
    ["Offset of field: stor_event::name"][::core::mem::offset_of!(stor_event, name) - 48usize];
};
