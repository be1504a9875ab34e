/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * Stor control ABI: what user space and stor.ko say to each other through
 * /dev/stor-control. This header is the one definition; kmod/abi/uapi.rs is
 * made from it by bindgen and docs/abi.md explains it.
 *
 * Rules that hold for every call:
 *  - The argument starts with struct stor_header. `abi` is STOR_ABI_VERSION,
 *    `size` is sizeof the whole argument and equals _IOC_SIZE of the command.
 *  - Sizes, offsets and lengths are in bytes and multiples of 512; times are
 *    nanoseconds of CLOCK_BOOTTIME.
 *  - Reserved fields and the bytes behind a string's NUL are zero.
 *  - A call that fails has changed nothing. A call that returns 0 is complete:
 *    the node of a created volume exists, that of a removed one is gone.
 *
 * Errors that every call may give:
 *  EPROTONOSUPPORT  `abi` is not spoken here; STOR_IOC_VERSION names the range
 *  EINVAL           wrong size, unknown flag, non-zero reserved field, bad value
 *  EFAULT           a pointer does not lead to readable/writable memory
 *  EPERM            CAP_SYS_ADMIN is missing (not needed by VERSION and LIST)
 *  ENOTTY           no such command
 *  ENXIO            no volume has this UUID
 *  ENOMEM           no memory
 */
#ifndef _UAPI_STOR_H
#define _UAPI_STOR_H

#include <linux/types.h>
#include <linux/ioctl.h>

#define STOR_ABI_VERSION	1

#define STOR_IOC_MAGIC		0xD9

#define STOR_UUID_LEN		16
#define STOR_NAME_LEN		64	/* with the NUL: [A-Za-z0-9][A-Za-z0-9._+-]* */
#define STOR_TARGET_LEN		16	/* with the NUL */
#define STOR_VERSION_LEN	32	/* with the NUL: [0-9A-Za-z][0-9A-Za-z.+-]* */
#define STOR_DISK_LEN		32	/* with the NUL: a kernel disk name */

#define STOR_MAX_VOLUMES	16384
#define STOR_MAX_POOLS		256
#define STOR_MAX_LOWERS		64	/* per volume */
#define STOR_MAX_CONFIG		65536	/* bytes of a target's configuration */

struct stor_header {
	__u32 abi;
	__u32 size;
	__u32 flags;
	__u32 reserved;
};

/* STOR_IOC_VERSION: any `abi` is answered, so that both sides can name theirs. */
struct stor_version {
	struct stor_header header;
	__u32 abi_min;			/* out */
	__u32 abi_max;			/* out */
	__u32 engine_abi;		/* out: front <-> engine ABI number */
	__u32 reserved;
	char front[STOR_VERSION_LEN];	/* out: version of stor.ko */
};

/* A device below a volume, as an open file descriptor of a block device. */
struct stor_lower {
	__s32 fd;
	__u32 reserved;
};

/*
 * Configuration of target "linear": this header, then segment_count segments.
 * Segments are sorted by `start`, begin at 0, leave no gap, end at the
 * volume's size, and do not overlap on a lower device.
 */
#define STOR_LINEAR_CONFIG_VERSION	1

struct stor_linear_config {
	__u32 version;			/* STOR_LINEAR_CONFIG_VERSION */
	__u32 segment_count;		/* 1 .. */
};

struct stor_linear_segment {
	__u64 start;			/* in the volume */
	__u64 length;
	__u64 lower_start;		/* on the lower device */
	__u32 lower;			/* index into the lowers */
	__u32 reserved;
};

/*
 * What happens to a write that needs a new block when its pool has none.
 */
#define STOR_POLICY_POOL	0	/* what the pool says */
#define STOR_POLICY_QUEUE	1	/* waits for room, at most for the time-out */
#define STOR_POLICY_ERROR	2	/* fails with ENOSPC */
#define STOR_POLICY_READ_ONLY	3	/* fails, and so does every later write until the volume is set writable */

/*
 * Configuration of target "thin": a volume of a pool (`pool` of the call). It
 * has no lowers, or one, the external origin: what the volume does not map is
 * read from there, and never written there.
 */
#define STOR_THIN_CONFIG_VERSION	1

struct stor_thin_config {
	__u32 version;			/* STOR_THIN_CONFIG_VERSION */
	__u32 policy;			/* STOR_POLICY_* */
	__u64 device;			/* id in the pool's metadata */
	__u64 reservation;		/* bytes of the pool that nobody else gets */
	__u32 timeout;			/* seconds a write waits for room, 0 for ever; if `policy` is its own */
	__u32 reserved;
};

/*
 * Configuration of a pool, target "thin": this header, the segments that the
 * metadata is made of, then those of the data, each list as for "linear"
 * (begins at 0, without gap). The metadata is formatted already.
 */
#define STOR_POOL_CONFIG_VERSION	1

#define STOR_POOL_NO_PASSDOWN	(1U << 0)	/* what is freed is not discarded below */
#define STOR_POOL_NO_ZERO	(1U << 1)	/* what is not written of a new block is left as it was */

struct stor_pool_config {
	__u32 version;			/* STOR_POOL_CONFIG_VERSION */
	__u32 flags;			/* STOR_POOL_* */
	__u32 metadata_segments;	/* 1 .. */
	__u32 data_segments;		/* 1 .. */
	__u32 data_block_size;		/* bytes, as the metadata says */
	__u32 policy;			/* STOR_POLICY_*, for volumes without one */
	__u32 timeout;			/* seconds, for STOR_POLICY_QUEUE; 0 for ever */
	__u32 commit_interval;		/* milliseconds between commits in the background, 0 for 1000 */
	__u64 low_water;		/* bytes of free data below which there is an event, 0 for none */
	__u64 reserve;			/* bytes that volumes without a reservation do not get */
};

/*
 * Configuration of target "replica": the lowers are legs of an array, md
 * members of version 1.2 that have been made before, in any order, each once; with
 * STOR_REPLICA_TIE_BREAK the last one is the tie-break. Legs that are not there
 * are left out. What is on the legs says how the volume starts; with
 * STOR_REPLICA_FORCE it starts from what the leg `source` has, in a new lineage,
 * and what others have besides is lost. With `joins` or `leaves` the start changes who the
 * members are, if that was not done before: when it has succeeded, the change is
 * on a majority of them. Who joins is a lower, formatted as an empty leg of the array;
 * or the tie-break, whose UUID this then is, with STOR_REPLICA_JOIN_TIE_BREAK. Who leaves may be there or not. With
 * STOR_REPLICA_WRITE_MOSTLY the leg `mostly` is marked so that it is read only if no other can be, with
 * STOR_REPLICA_READ_TOO it is so no longer; that stays on it, as md's write-mostly. The volume's size is the array's, and its UUID
 * may be any. STOR_IOC_RELOAD brings legs back, and leaves out those that are gone: the volume is held for
 * as long as it takes to stop and start with the new list. Errors besides those of CREATE: EILSEQ a lower is no
 * leg, EUCLEAN it or its membership record is damaged, EPROTO it has what is not known, or no bitmap,
 * ENODATA nobody who is there can know what the data is (too few voters, or no
 * leg that has all of it), ESTALE legs have gone on apart, EINVAL they are not of this
 * array, or not of one volume; EIO a leg failed in the start. The kernel's log says which leg, and why.
 */
#define STOR_REPLICA_CONFIG_VERSION	1

#define STOR_REPLICA_TIE_BREAK		(1U << 0)
#define STOR_REPLICA_FORCE		(1U << 1)
#define STOR_REPLICA_JOIN_TIE_BREAK	(1U << 2)
#define STOR_REPLICA_WRITE_MOSTLY	(1U << 3)
#define STOR_REPLICA_READ_TOO		(1U << 4)
#define STOR_REPLICA_DROP_SLOW		(1U << 5)	/* a leg that is slow or silent counts as failed */

#define STOR_MAX_LEGS		16
#define STOR_REPLICA_ANY	0xffffffff
#define STOR_REPLICA_NEVER	0xffffffff	/* no leg is slow */
#define STOR_REPLICA_SLOW	100		/* milliseconds, if `slow` is 0 */

struct stor_replica_config {
	__u32 version;			/* STOR_REPLICA_CONFIG_VERSION */
	__u32 flags;			/* STOR_REPLICA_* */
	__u8 array[STOR_UUID_LEN];	/* the array's UUID, as the legs have it */
	__u8 lineage[STOR_UUID_LEN];	/* random, with STOR_REPLICA_FORCE, else zero */
	__u8 machine[STOR_UUID_LEN];	/* machine id, for the membership record */
	__u32 source;			/* with STOR_REPLICA_FORCE: index of a lower, else 0 */
	__u32 prefer;			/* index of the lower that is read from if possible, or STOR_REPLICA_ANY */
	__u64 resync_rate;		/* bytes a second that a rebuild takes at most, 0 for as much as there is */
	__u8 joins[STOR_UUID_LEN];	/* UUID of who is to be a member, or zero; not with STOR_REPLICA_FORCE */
	__u8 leaves[STOR_UUID_LEN];	/* UUID of who is to be none any more, or zero; not with STOR_REPLICA_FORCE */
	__u8 mostly[STOR_UUID_LEN];	/* UUID of a leg, with STOR_REPLICA_WRITE_MOSTLY or STOR_REPLICA_READ_TOO, else zero */
	__u32 slow;			/* milliseconds: a leg whose writes take longer, and ten times as long as the fastest leg's, is slow */
	__u32 resync_latency;		/* milliseconds: while I/O to a leg takes longer a rebuild takes less; 0: never mind */
};

/*
 * STOR_IOC_CREATE. Errors: EEXIST name or UUID is taken, EBUSY a lower device
 * is in use, ENOTBLK/EBADF fd is no block device, EOPNOTSUPP target unknown or
 * lower device is zoned, ENOSPC a segment ends beyond its lower device, ENODEV no engine is
 * loaded, ELOOP the volume would stand on itself, EROFS a lower device is
 * read-only and the volume is not, E2BIG too many volumes/lowers/bytes.
 * With a pool: ENXIO no pool has that UUID, ENOENT the pool has no such device,
 * EBUSY another volume is that device, or it is being deleted. It has one lower
 * device or none: one that is read, and never written to, where the volume has
 * no blocks of its own; behind its end there are zeros. Volumes may share it.
 */
#define STOR_CREATE_READ_ONLY	(1U << 0)

struct stor_create {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];	/* not all zero */
	char name[STOR_NAME_LEN];
	char target[STOR_TARGET_LEN];
	__u64 size;			/* of the volume, > 0 */
	__u64 lowers;			/* pointer to struct stor_lower[lower_count] */
	__u64 config;			/* pointer to config_len bytes */
	__u32 lower_count;
	__u32 config_len;
	__u8 pool[STOR_UUID_LEN];	/* the pool that it is a volume of, or zero */
	__u32 index;			/* out: N of /dev/storN */
	__u32 major;			/* out */
	__u32 minor;			/* out */
	__u32 reserved;
};

/*
 * STOR_IOC_REMOVE   EBUSY the volume is open; ETIMEDOUT
 * STOR_IOC_SUSPEND  drain and hold all I/O (what was completed is as durable as
 *                   its flushes made it); EALREADY; ETIMEDOUT a lower device
 *                   did not finish its I/O in time
 * STOR_IOC_RESUME   EALREADY it was not suspended
 */
struct stor_volume_ref {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
};

/*
 * STOR_IOC_RELOAD: replace size, lowers and configuration of a volume while it
 * is in use. Errors as for CREATE, and EBUSY for a smaller size while the
 * volume is open, ERANGE for a smaller size without STOR_RELOAD_SHRINK,
 * ETIMEDOUT a lower device did not finish its I/O in time.
 */
#define STOR_RELOAD_SHRINK	(1U << 0)

struct stor_reload {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	__u64 size;
	__u64 lowers;
	__u64 config;
	__u32 lower_count;
	__u32 config_len;
};

/*
 * STOR_IOC_INSERT: while a volume is in use, two others come to be below it, and
 * it goes on with another target on the second one. `below` is what the volume was
 * until then: it has its target, lowers, configuration and pool. `joined` stands on
 * `lowers` and, as the last of its lower devices, on `below`. The volume keeps its
 * disk, name, UUID and size; its one lower device is `joined`, and `config` is of
 * `target`. So it can become a replica of what it is, with `joined` as the first
 * leg. All of it is done, or nothing. Errors as for CREATE and RELOAD; EOPNOTSUPP
 * the volume is a replica, or `joined` is not to be "linear", EBUSY it is suspended or
 * `joined` has larger blocks and it is open.
 */
struct stor_insert {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	__u8 below_uuid[STOR_UUID_LEN];
	__u8 joined_uuid[STOR_UUID_LEN];
	char below_name[STOR_NAME_LEN];
	char joined_name[STOR_NAME_LEN];
	char joined_target[STOR_TARGET_LEN];
	char target[STOR_TARGET_LEN];
	__u64 joined_size;
	__u64 lowers;			/* pointer to struct stor_lower[lower_count] */
	__u64 joined_config;		/* pointer to joined_config_len bytes */
	__u64 config;			/* pointer to config_len bytes */
	__u32 lower_count;		/* 1 .. STOR_MAX_LOWERS - 1 */
	__u32 joined_config_len;
	__u32 config_len;
	__u32 reserved;
};

/* STOR_IOC_SET: only what `mask` names is changed. EBUSY, EROFS. */
#define STOR_SET_READ_ONLY	(1U << 0)

struct stor_set {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	__u32 mask;
	__u32 value;
};

/* STOR_IOC_RENAME: of a volume or a pool. EEXIST the name is taken. */
struct stor_rename {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	char name[STOR_NAME_LEN];
};

/* States of a volume, as bits. */
#define STOR_STATE_READ_ONLY	(1U << 0)
#define STOR_STATE_SUSPENDED	(1U << 1)
#define STOR_STATE_DEAD		(1U << 2)	/* no engine: all I/O fails until a switch revives it */
#define STOR_STATE_LOWER_GONE	(1U << 3)	/* a lower device was removed */

struct stor_volume_info {
	__u8 uuid[STOR_UUID_LEN];
	char name[STOR_NAME_LEN];
	char target[STOR_TARGET_LEN];
	char engine[STOR_VERSION_LEN];	/* version that drives it, empty if dead */
	__u8 pool[STOR_UUID_LEN];	/* zero if it is none's */
	__u64 size;
	__u32 index;
	__u32 major;
	__u32 minor;
	__u32 state;			/* STOR_STATE_* */
	__u32 open_count;
	__u32 lower_count;
};

/*
 * STOR_IOC_LIST: fills up to `capacity` entries in order of creation and says
 * in `count` how many there are; call again with more room if count > capacity.
 */
struct stor_list {
	struct stor_header header;
	__u64 entries;			/* pointer to struct stor_volume_info[capacity] */
	__u32 capacity;
	__u32 count;			/* out */
	__u64 generation;		/* out: changes with every change of any volume */
};

#define STOR_LOWER_GONE		(1U << 0)

struct stor_lower_status {
	__u32 major;
	__u32 minor;
	__u32 state;			/* STOR_LOWER_* */
	__u32 reserved;
	__u64 size;
	char disk[STOR_DISK_LEN];	/* kernel name, such as vda1 */
};

/* What a volume waits for. */
#define STOR_WAIT_NONE		0
#define STOR_WAIT_SUSPENDED	1	/* since wait_since, by a SUSPEND call */
#define STOR_WAIT_LOWER		2	/* for lower devices, the oldest request since wait_since */
#define STOR_WAIT_METADATA	3	/* for the pool's metadata to be read or changed */
#define STOR_WAIT_COMMIT	4	/* for a commit of the pool */
#define STOR_WAIT_DATA_FULL	5	/* for room for data in the pool */
#define STOR_WAIT_METADATA_FULL	6	/* for room for metadata in the pool */

/*
 * STOR_IOC_STATUS: everything about one volume, with the lowers and the
 * configuration it runs with. Counts are filled even when the room is too
 * small, and then nothing is written behind that pointer.
 */
struct stor_status {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	struct stor_volume_info info;	/* out */
	__u32 logical_block_size;	/* out */
	__u32 physical_block_size;	/* out */
	__u32 wait;			/* out: STOR_WAIT_* */
	__u32 in_flight;		/* out: requests with lower devices */
	__u64 wait_since;		/* out: 0 if not known */
	__u64 errors;			/* out: requests that ended with an error */
	__u64 lowers;			/* pointer to struct stor_lower_status[lower_capacity] */
	__u64 config;			/* pointer to config_capacity bytes */
	__u32 lower_capacity;
	__u32 config_capacity;
	__u32 config_len;		/* out */
	__s32 last_error;		/* out: errno of the last failed request, positive, or 0 */
};

/*
 * Pools. A pool has lowers and a configuration, as a volume has, but no disk:
 * volumes that are made with its UUID have theirs in it. Names of pools and of
 * volumes are apart from each other; UUIDs are not.
 *
 * STOR_IOC_POOL_CREATE. Errors: EEXIST, EBUSY, ENOTBLK/EBADF, EOPNOTSUPP,
 * ENODEV, EROFS, E2BIG, ENOSPC as for a volume; EUCLEAN the metadata is damaged,
 * EILSEQ it is no metadata, or of another data block size, EPROTO it has
 * features that are not known. Metadata that has to be checked, or that was opened
 * with STOR_POOL_READ_ONLY, can be read and not changed.
 */
#define STOR_POOL_READ_ONLY	(1U << 0)

struct stor_pool_create {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];	/* not all zero */
	char name[STOR_NAME_LEN];
	char target[STOR_TARGET_LEN];
	__u64 lowers;			/* pointer to struct stor_lower[lower_count] */
	__u64 config;			/* pointer to config_len bytes */
	__u32 lower_count;
	__u32 config_len;
};

/*
 * STOR_IOC_POOL_RELOAD: the pool goes on with these lowers and this
 * configuration, while it is in use and without holding I/O. The lowers that it had
 * come first, in the same order, and segments keep what they were: they may be longer,
 * and more may follow. ERANGE for less than there was.
 *
 * STOR_IOC_POOL_REMOVE (struct stor_volume_ref): EBUSY it has volumes. What
 * was not committed is, before.
 */
struct stor_pool_reload {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	__u64 lowers;
	__u64 config;
	__u32 lower_count;
	__u32 config_len;
};

/*
 * STOR_IOC_POOL_CHANGE: one transaction of a pool, durable when the call
 * returns, or not there at all. The transaction id goes from `transaction_old` to
 * `transaction_new` in it; ESTALE it is another.
 *  CREATE    the devices of `items` are made, empty. EEXIST
 *  SNAPSHOT  each is made a snapshot of its origin, all at one instant, whether
 *            in use or not; `pause` is how long writes to the origins were held. EEXIST, ENOENT
 *  DELETE    they are deleted in the background; STOR_EVENT_POOL_DELETED tells
 *            of each when it is. One that is not there is deleted. EBUSY it has a volume
 *  HOLD      makes the metadata snapshot; `held_root` is its block. EEXIST
 *  RELEASE   gives it up. ENOENT
 *  COMMIT    only the transaction id, and whatever was not committed
 *  CHECKED   takes back that the metadata has to be checked: it has been
 * Other errors: EROFS the pool cannot be changed, ENOSPC no room for metadata,
 * E2BIG too many items, EIO the change failed and the pool is read-only now.
 */
#define STOR_POOL_CHANGE_COMMIT		0
#define STOR_POOL_CHANGE_CREATE		1
#define STOR_POOL_CHANGE_SNAPSHOT	2
#define STOR_POOL_CHANGE_DELETE		3
#define STOR_POOL_CHANGE_HOLD		4
#define STOR_POOL_CHANGE_RELEASE	5
#define STOR_POOL_CHANGE_CHECKED	6

#define STOR_MAX_ITEMS		4096

struct stor_pool_item {
	__u64 device;
	__u64 origin;			/* for SNAPSHOT, else 0 */
};

struct stor_pool_change {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	__u32 change;			/* STOR_POOL_CHANGE_* */
	__u32 item_count;
	__u64 items;			/* pointer to struct stor_pool_item[item_count] */
	__u64 transaction_old;
	__u64 transaction_new;
	__u64 held_root;		/* out */
	__u64 pause;			/* out: ns */
};

/* Modes of a pool, by severity. */
#define STOR_POOL_WRITE			0
#define STOR_POOL_DATA_FULL		1	/* no room for data */
#define STOR_POOL_METADATA_FULL		2	/* no room for metadata */
#define STOR_POOL_STUCK			3	/* read-only, by request, for a check, or after an error */
#define STOR_POOL_FAILED		4	/* its metadata cannot be read: all I/O fails */

#define STOR_POOL_NEEDS_CHECK		(1U << 0)
#define STOR_POOL_OPENED_READ_ONLY	(1U << 1)

struct stor_pool_info {
	__u8 uuid[STOR_UUID_LEN];
	char name[STOR_NAME_LEN];
	char target[STOR_TARGET_LEN];
	char engine[STOR_VERSION_LEN];	/* version that drives it, empty if dead */
	__u32 state;			/* STOR_STATE_* */
	__u32 volumes;
	__u32 lower_count;
	__u32 reserved;
};

/* STOR_IOC_POOL_LIST: like LIST. */
struct stor_pool_list {
	struct stor_header header;
	__u64 entries;			/* pointer to struct stor_pool_info[capacity] */
	__u32 capacity;
	__u32 count;			/* out */
	__u64 generation;		/* out: as that of LIST */
};

/* What a pool's target says of it. */
struct stor_pool_facts {
	__u32 mode;			/* STOR_POOL_* */
	__u32 flags;			/* STOR_POOL_NEEDS_CHECK, ... */
	__u64 data_size;		/* bytes */
	__u64 data_used;
	__u64 metadata_size;		/* bytes */
	__u64 metadata_used;
	__u64 metadata_reserve;		/* bytes that only deletions and commits may use */
	__u64 transaction;		/* the transaction id */
	__u64 held_root;		/* block of the metadata snapshot, or 0 */
	__u64 snapshots_left;		/* that can still be taken in this pool */
	__u64 deleting;			/* devices that are being deleted */
	__u64 waiting;			/* requests that wait for the pool */
	__u64 wait_since;		/* since when the first of them does, or 0 */
	__u64 memory;			/* bytes of kernel memory */
	__u64 commits;
	__u32 wait;			/* STOR_WAIT_*, of the first */
	__s32 last_error;		/* errno of what made it read-only, positive, or 0 */
};

/* STOR_IOC_POOL_STATUS: like STATUS. */
struct stor_pool_status {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	struct stor_pool_info info;	/* out */
	struct stor_pool_facts facts;	/* out: all zero if dead */
	__u64 lowers;			/* pointer to struct stor_lower_status[lower_capacity] */
	__u64 config;			/* pointer to config_capacity bytes */
	__u32 lower_capacity;
	__u32 config_capacity;
	__u32 config_len;		/* out */
	__u32 reserved;
};

/*
 * STOR_IOC_POOL_DEVICE: what a device of a pool has. With
 * STOR_POOL_DEVICE_EXCLUSIVE `exclusive` is counted, at the cost of a look at each leaf
 * that only this device refers to. ENOENT.
 */
#define STOR_POOL_DEVICE_EXCLUSIVE	(1U << 0)

/* Of `state`: its writes and discards fail since there was no room for one of them; STOR_IOC_SET makes it writable again. */
#define STOR_POOL_DEVICE_NO_ROOM	(1U << 0)

struct stor_pool_device {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];	/* the pool's */
	__u64 device;
	__u64 mapped;			/* out: bytes */
	__u64 exclusive;		/* out: bytes that its deletion would free; else 0 */
	__u64 transaction;		/* out: the id when it was made */
	__u32 created;			/* out: the snapshot clock then */
	__u32 snapshotted;		/* out: the snapshot clock when it last was an origin */
	__u32 state;			/* out: STOR_POOL_DEVICE_NO_ROOM */
	__u32 reserved;
};

/* States of a leg, as bits. */
#define STOR_LEG_ENTITLED	(1U << 0)	/* has all that was acknowledged */
#define STOR_LEG_REBUILDING	(1U << 1)	/* gets all writes; what it lacks is copied to it */
#define STOR_LEG_FAILED		(1U << 2)	/* was given up since the volume started */
#define STOR_LEG_JOINING	(1U << 3)	/* is about to be rebuilt */
#define STOR_LEG_VOTER		(1U << 4)
#define STOR_LEG_SOURCE		(1U << 5)	/* may be read */
#define STOR_LEG_WRITE_MOSTLY	(1U << 6)	/* is read only if no other can be */
#define STOR_LEG_SLOW		(1U << 7)	/* writes take much longer than on another */
#define STOR_LEG_SILENT		(1U << 8)	/* has had I/O under way for 30 seconds, none of which has ended */

struct stor_replica_leg {
	__u8 uuid[STOR_UUID_LEN];	/* the leg's; zero if nobody has this place */
	__u32 state;			/* STOR_LEG_* */
	__u32 lower;			/* index of a lower, or STOR_REPLICA_ANY if it is not there */
	__u64 read_errors;		/* since the volume started */
	__u64 write_errors;
	__u64 repaired;			/* reads that failed and were written anew from another leg */
	__u64 read_time;		/* nanoseconds that a read took of late, on average, as the device counts it; 0 unknown */
	__u64 write_time;		/* likewise a write */
};

/* Why a replica has stopped: writes fail; reads go on with STOR_REPLICA_STOP_QUORUM. */
#define STOR_REPLICA_RUNS		0
#define STOR_REPLICA_STOP_QUORUM	1	/* too few voters could be told of a change */
#define STOR_REPLICA_STOP_NO_LEG	2	/* the last leg with all data failed */
#define STOR_REPLICA_STOP_END		3	/* no further change can be counted */

/* What a rebuild waits for. */
#define STOR_REPLICA_WAITS_NOTHING	0
#define STOR_REPLICA_WAITS_SOURCE	1	/* no leg can be read there: tried again every 5 seconds */
#define STOR_REPLICA_WAITS_WRITES	2	/* somebody writes there all the time */
#define STOR_REPLICA_WAITS_LEG		3	/* a leg does not answer */
#define STOR_REPLICA_WAITS_RATE		4	/* it has taken as much as it may */

/* What a replica says of itself. Legs are by their slots; behind them is the tie-break. */
struct stor_replica_facts {
	__u32 stop;			/* STOR_REPLICA_* */
	__u32 slots;			/* of the array that are to have a leg, a bit for each */
	__u64 epoch;			/* of the membership */
	__u8 lineage[STOR_UUID_LEN];
	__u64 events;			/* md's */
	__u64 chunk_size;		/* bytes that a bit of the bitmap stands for */
	__u64 chunks;
	__u64 dirty;			/* bits that are set */
	__u64 needed;			/* chunks that some leg lacks */
	__u64 copied;			/* bytes that were copied to legs since the volume started */
	__u64 position;			/* bytes: where the rebuild is, or 0 */
	__u64 waiting;			/* requests that wait for the membership or the bitmap */
	__u64 memory;			/* bytes of kernel memory */
	__u64 rebuild_time;		/* nanoseconds since the rebuild began, or 0 */
	__u64 rebuild_copied;		/* bytes that it has copied, or passed over */
	__u64 rebuild_left;		/* bytes that it has to copy yet */
	__u64 waits_time;		/* nanoseconds that it has waited, or 0 */
	__u32 waits;			/* STOR_REPLICA_WAITS_* */
	__u32 reserved;
	struct stor_replica_leg leg[17];	/* [STOR_MAX_LEGS + 1] */
};

/* STOR_IOC_REPLICA_STATUS. EOPNOTSUPP the volume is none, ENODEV it is dead. */
struct stor_replica_status {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	struct stor_replica_facts facts;	/* out */
};

/* A range of a replica in which legs differ. */
struct stor_replica_range {
	__u64 start;			/* bytes */
	__u64 length;
	__u32 legs;			/* slots that have something else than the first leg that was read, a bit for each */
	__u32 repaired;			/* not 0: all have the same now */
};

#define STOR_REPLICA_RANGES	80

/*
 * STOR_IOC_REPLICA_VERIFY compares the legs that are in sync from `start` up to `end`, a part of it in a call: where
 * it got to is in `start` afterwards. Nobody can write to a range while it is compared; EAGAIN somebody writes there
 * now. With STOR_VERIFY_REPAIR, what most of them have is written to the others, or what the leg in slot `source` has.
 * EINVAL `start` or `end` is no multiple of 4096 (or the size), ENXIO no volume has that UUID, or that leg is not in sync,
 * EOPNOTSUPP the volume is no replica, EIO no leg can be read, ENODEV it is dead.
 */
#define STOR_VERIFY_REPAIR	(1U << 0)

struct stor_replica_verify {
	struct stor_header header;
	__u8 uuid[STOR_UUID_LEN];
	__u64 start;			/* bytes; out: up to there it is compared */
	__u64 end;			/* bytes */
	__u64 repaired;			/* out: bytes that were made equal */
	__u32 source;			/* slot, or STOR_REPLICA_ANY: what most have */
	__u32 count;			/* out: of range */
	struct stor_replica_range range[STOR_REPLICA_RANGES];	/* out */
};

#define STOR_ENGINE_ACTIVE	(1U << 0)	/* new volumes start on it */

struct stor_engine_info {
	char version[STOR_VERSION_LEN];
	__u32 abi;
	__u32 state;			/* STOR_ENGINE_* */
	__u32 volumes;			/* that it drives now */
	__u32 reserved;
};

/* STOR_IOC_ENGINE_LIST: like LIST, in order of registration. */
struct stor_engine_list {
	struct stor_header header;
	__u64 entries;			/* pointer to struct stor_engine_info[capacity] */
	__u32 capacity;
	__u32 count;			/* out */
};

#define STOR_SWITCH_MOVED	0	/* runs on the new engine */
#define STOR_SWITCH_STAYED	1	/* was not touched, or came back to the old one */
#define STOR_SWITCH_DEAD	2	/* neither engine took it: STOR_STATE_DEAD */
#define STOR_SWITCH_UNCHANGED	3	/* ran on the new engine before */

struct stor_switch_result {
	__u8 uuid[STOR_UUID_LEN];
	__u32 outcome;			/* STOR_SWITCH_* */
	__s32 error;			/* why it did not move, as a negative errno, or 0 */
	__u64 pause;			/* how long its I/O was held, ns */
};

/*
 * STOR_IOC_ENGINE_SWITCH: move every volume to the engine `version`, one after
 * the other in order of creation. If the new engine refuses one, those already moved go
 * back and the call fails with that error; results tell of each volume and are
 * written whether it fails or not. Errors: ENOENT no such engine is loaded,
 * ETIMEDOUT a lower device did not finish its I/O in time, what the engine says.
 */
struct stor_engine_switch {
	struct stor_header header;
	char version[STOR_VERSION_LEN];
	__u64 results;			/* pointer to struct stor_switch_result[capacity] */
	__u32 capacity;
	__u32 count;			/* out: volumes there are */
};

/*
 * Events: read() on the control device gives whole struct stor_event, oldest
 * first, that came after open(); it waits for one unless O_NONBLOCK (EAGAIN).
 * A buffer with no room for one gives EINVAL. poll() says POLLIN. A reader that
 * falls too far behind gets STOR_EVENT_LOST with the number lost in `value`.
 */
#define STOR_EVENT_LOST			0
#define STOR_EVENT_CREATED		1	/* value: size */
#define STOR_EVENT_REMOVED		2
#define STOR_EVENT_SUSPENDED		3
#define STOR_EVENT_RESUMED		4
#define STOR_EVENT_RELOADED		5	/* value: new size */
#define STOR_EVENT_RENAMED		6	/* name: the new one */
#define STOR_EVENT_READ_ONLY		7	/* value: 1 read-only, 0 writable */
#define STOR_EVENT_ENGINE_ADDED		8	/* name: version */
#define STOR_EVENT_ENGINE_REMOVED	9	/* name: version */
#define STOR_EVENT_SWITCHED		10	/* value: pause */
#define STOR_EVENT_SWITCH_FAILED	11	/* value: errno */
#define STOR_EVENT_DEAD			12	/* value: errno */
#define STOR_EVENT_LOWER_GONE		13	/* value: number of the device, major << 32 | minor */
#define STOR_EVENT_IO_ERROR		14	/* value: errors since the last such event */
#define STOR_EVENT_POOL_CREATED		15	/* this and the next: uuid and name are a pool's */
#define STOR_EVENT_POOL_REMOVED		16
#define STOR_EVENT_POOL_RELOADED	17
#define STOR_EVENT_POOL_MODE		18	/* value: STOR_POOL_* */
#define STOR_EVENT_POOL_LOW_WATER	19	/* value: bytes of free data; again when it was above meanwhile */
#define STOR_EVENT_POOL_DELETED		20	/* value: the device's id */
#define STOR_EVENT_POOL_NO_ROOM		21	/* value: the device's id: it is STOR_POOL_DEVICE_NO_ROOM now */
#define STOR_EVENT_LEG_FAILED		22	/* value: the leg's slot, or 16 for the tie-break */
#define STOR_EVENT_LEG_JOINED		23	/* value: the leg's slot: it gets all writes */
#define STOR_EVENT_LEG_ENTITLED		24	/* value: the leg's slot: it has all that was acknowledged */
#define STOR_EVENT_REPLICA_STOPPED	25	/* value: STOR_REPLICA_STOP_* */
#define STOR_EVENT_LEG_SLOW		26	/* value: the leg's slot: it is STOR_LEG_SLOW now */
#define STOR_EVENT_LEG_SILENT		27	/* value: the leg's slot: it is STOR_LEG_SILENT now */

struct stor_event {
	__u64 sequence;
	__u64 time;
	__u64 value;
	__u32 type;			/* STOR_EVENT_* */
	__u32 reserved;
	__u8 uuid[STOR_UUID_LEN];	/* zero for events of engines */
	char name[STOR_NAME_LEN];
};

#define STOR_NR_VERSION		0
#define STOR_NR_CREATE		1
#define STOR_NR_REMOVE		2
#define STOR_NR_SUSPEND		3
#define STOR_NR_RESUME		4
#define STOR_NR_RELOAD		5
#define STOR_NR_LIST		6
#define STOR_NR_STATUS		7
#define STOR_NR_SET		8
#define STOR_NR_RENAME		9
#define STOR_NR_ENGINE_LIST	10
#define STOR_NR_ENGINE_SWITCH	11
#define STOR_NR_POOL_CREATE	12
#define STOR_NR_POOL_REMOVE	13
#define STOR_NR_POOL_RELOAD	14
#define STOR_NR_POOL_LIST	15
#define STOR_NR_POOL_STATUS	16
#define STOR_NR_POOL_CHANGE	17
#define STOR_NR_POOL_DEVICE	18
#define STOR_NR_REPLICA_STATUS	19
#define STOR_NR_REPLICA_VERIFY	20
#define STOR_NR_INSERT		21

#define STOR_IOC_VERSION	_IOWR(STOR_IOC_MAGIC, STOR_NR_VERSION, struct stor_version)
#define STOR_IOC_CREATE		_IOWR(STOR_IOC_MAGIC, STOR_NR_CREATE, struct stor_create)
#define STOR_IOC_REMOVE		_IOWR(STOR_IOC_MAGIC, STOR_NR_REMOVE, struct stor_volume_ref)
#define STOR_IOC_SUSPEND	_IOWR(STOR_IOC_MAGIC, STOR_NR_SUSPEND, struct stor_volume_ref)
#define STOR_IOC_RESUME		_IOWR(STOR_IOC_MAGIC, STOR_NR_RESUME, struct stor_volume_ref)
#define STOR_IOC_RELOAD		_IOWR(STOR_IOC_MAGIC, STOR_NR_RELOAD, struct stor_reload)
#define STOR_IOC_LIST		_IOWR(STOR_IOC_MAGIC, STOR_NR_LIST, struct stor_list)
#define STOR_IOC_STATUS		_IOWR(STOR_IOC_MAGIC, STOR_NR_STATUS, struct stor_status)
#define STOR_IOC_SET		_IOWR(STOR_IOC_MAGIC, STOR_NR_SET, struct stor_set)
#define STOR_IOC_RENAME		_IOWR(STOR_IOC_MAGIC, STOR_NR_RENAME, struct stor_rename)
#define STOR_IOC_ENGINE_LIST	_IOWR(STOR_IOC_MAGIC, STOR_NR_ENGINE_LIST, struct stor_engine_list)
#define STOR_IOC_ENGINE_SWITCH	_IOWR(STOR_IOC_MAGIC, STOR_NR_ENGINE_SWITCH, struct stor_engine_switch)
#define STOR_IOC_POOL_CREATE	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_CREATE, struct stor_pool_create)
#define STOR_IOC_POOL_REMOVE	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_REMOVE, struct stor_volume_ref)
#define STOR_IOC_POOL_RELOAD	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_RELOAD, struct stor_pool_reload)
#define STOR_IOC_POOL_LIST	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_LIST, struct stor_pool_list)
#define STOR_IOC_POOL_STATUS	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_STATUS, struct stor_pool_status)
#define STOR_IOC_POOL_CHANGE	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_CHANGE, struct stor_pool_change)
#define STOR_IOC_POOL_DEVICE	_IOWR(STOR_IOC_MAGIC, STOR_NR_POOL_DEVICE, struct stor_pool_device)
#define STOR_IOC_REPLICA_STATUS	_IOWR(STOR_IOC_MAGIC, STOR_NR_REPLICA_STATUS, struct stor_replica_status)
#define STOR_IOC_REPLICA_VERIFY	_IOWR(STOR_IOC_MAGIC, STOR_NR_REPLICA_VERIFY, struct stor_replica_verify)
#define STOR_IOC_INSERT		_IOWR(STOR_IOC_MAGIC, STOR_NR_INSERT, struct stor_insert)

#endif /* _UAPI_STOR_H */
