// SPDX-License-Identifier: GPL-2.0

//! What bindgen does not give: the functions of `shim.c`, and constants, whose values `shim.c` asserts.

use kernel::bindings::{
    bio, blk_mq_tag_set, blk_plug, block_device, delayed_work, gendisk, gfp_t, lock_class_key, queue_limits,
    req_flag_bits___REQ_ALLOC_CACHE, req_flag_bits___REQ_FUA, req_flag_bits___REQ_META, req_flag_bits___REQ_NOUNMAP,
    req_flag_bits___REQ_NOWAIT, req_flag_bits___REQ_POLLED, req_flag_bits___REQ_PREFLUSH, req_flag_bits___REQ_SYNC,
    request_queue, wait_queue_head, work_struct, workqueue_struct, ___GFP_DIRECT_RECLAIM_BIT,
    ___GFP_KSWAPD_RECLAIM_BIT,
};
use kernel::ffi::{c_uint, c_void};

/// `GFP_NOIO`: may sleep, starts no I/O.
pub const GFP_NOIO: gfp_t = (1 << ___GFP_DIRECT_RECLAIM_BIT) | (1 << ___GFP_KSWAPD_RECLAIM_BIT);

pub const REQ_OP_MASK: u32 = 0xff;
pub const REQ_FUA: u32 = 1 << req_flag_bits___REQ_FUA;
pub const REQ_META: u32 = 1 << req_flag_bits___REQ_META;
pub const REQ_SYNC: u32 = 1 << req_flag_bits___REQ_SYNC;
pub const REQ_PREFLUSH: u32 = 1 << req_flag_bits___REQ_PREFLUSH;
/// What a clone must not inherit: the queue below may make us wait, nobody polls us, and the clone is not from a
/// per-CPU cache. FUA and PREFLUSH come from the request, which the flush machinery has adjusted.
pub const REQ_NOT_INHERITED: u32 = (1 << req_flag_bits___REQ_NOWAIT)
    | (1 << req_flag_bits___REQ_POLLED)
    | (1 << req_flag_bits___REQ_ALLOC_CACHE)
    | REQ_FUA
    | REQ_PREFLUSH;

/// Of WRITE ZEROES: the space must not be given up.
pub const REQ_NOUNMAP: u32 = 1 << req_flag_bits___REQ_NOUNMAP;

pub const BLK_OPEN_READ: u32 = 1;
pub const BLK_OPEN_WRITE: u32 = 2;

pub const BLK_FEAT_WRITE_CACHE: u32 = 1 << 0;
pub const BLK_FEAT_FUA: u32 = 1 << 1;
pub const BLK_FEAT_ROTATIONAL: u32 = 1 << 2;
pub const BLK_FEAT_IO_STAT: u32 = 1 << 4;
pub const BLK_FEAT_STABLE_WRITES: u32 = 1 << 5;
pub const BLK_FEAT_NOWAIT: u32 = 1 << 7;
pub const BLK_FEAT_ZONED: u32 = 1 << 10;

/// `work_func_t`.
pub type WorkFunction = unsafe extern "C" fn(*mut work_struct);

#[allow(improper_ctypes)]
unsafe extern "C" {
    pub fn stor_this_module() -> *mut kernel::bindings::module;
    pub fn stor_alloc_disk(set: *mut blk_mq_tag_set, limits: *mut queue_limits, data: *mut c_void) -> *mut gendisk;
    pub fn stor_tag_set_class(set: *mut blk_mq_tag_set, key: *mut lock_class_key);
    pub safe fn stor_online_cpus() -> c_uint;
    pub safe fn stor_noio_save() -> c_uint;
    pub safe fn stor_noio_restore(flags: c_uint);
    pub safe fn stor_unplug() -> *mut blk_plug;
    pub fn stor_replug(plug: *mut blk_plug);
    pub safe fn stor_boottime_ns() -> u64;
    pub safe fn stor_synchronize_rcu_tasks();
    pub fn stor_init_work(work: *mut work_struct, function: WorkFunction);
    pub fn stor_limits_start(queue: *mut request_queue);
    pub fn stor_limits_cancel(queue: *mut request_queue);
    pub fn stor_bdev_read_only(bdev: *mut block_device) -> bool;
    pub fn stor_holder_unlock(bdev: *mut block_device);
    pub fn stor_zero_bio(bio: *mut bio, skip: c_uint, bytes: c_uint);
    pub safe fn stor_this_cpu() -> c_uint;
    pub safe fn stor_cpu_ids() -> c_uint;
    pub safe fn stor_cond_resched();
    pub fn stor_init_wait(head: *mut wait_queue_head);
    pub fn stor_wait(head: *mut wait_queue_head, done: unsafe extern "C" fn(*mut c_void) -> bool, data: *mut c_void);
    pub fn stor_wait_for(
        head: *mut wait_queue_head,
        done: unsafe extern "C" fn(*mut c_void) -> bool,
        data: *mut c_void,
        milliseconds: u32,
    ) -> bool;
    pub fn stor_wake(head: *mut wait_queue_head);
    pub fn stor_alloc_workqueue(name: *const kernel::ffi::c_char) -> *mut workqueue_struct;
    pub fn stor_init_delayed_work(work: *mut delayed_work, function: WorkFunction);
    pub fn stor_bdev_has_discard(bdev: *mut block_device) -> bool;
    pub fn stor_discard(bdev: *mut block_device, sector: u64, sectors: u64) -> i32;
    pub fn stor_queue_enter(queue: *mut request_queue) -> bool;
    pub fn stor_queue_exit(queue: *mut request_queue);
    pub fn stor_bdev_stat(bdev: *mut block_device, ended: *mut [u64; 2], time: *mut [u64; 2], under_way: *mut u32);
    pub fn stor_write_zeros(parent: *mut bio, sector: u64, sectors: u64);
    pub fn crc32c(crc: u32, data: *const c_void, length: usize) -> u32;
}
