/* SPDX-License-Identifier: GPL-2.0 */
#ifndef STOR_SHIM_H
#define STOR_SHIM_H

#include <linux/types.h>
#include <linux/workqueue.h>

struct blk_mq_tag_set;
struct block_device;
struct gendisk;
struct queue_limits;
struct request_queue;

struct module *stor_this_module(void);
struct gendisk *stor_alloc_disk(struct blk_mq_tag_set *set, struct queue_limits *lim, void *data);
unsigned int stor_online_cpus(void);
unsigned int stor_noio_save(void);
void stor_noio_restore(unsigned int flags);
u64 stor_boottime_ns(void);
void stor_synchronize_rcu_tasks(void);
void stor_init_work(struct work_struct *work, work_func_t func);
void stor_limits_start(struct request_queue *q);
void stor_limits_cancel(struct request_queue *q);
bool stor_bdev_read_only(struct block_device *bdev);
void stor_holder_unlock(struct block_device *bdev);

#endif
