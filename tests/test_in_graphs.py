"""Compiled functions: what AutoGraph rewrites, and what it leaves as it is."""

from __future__ import annotations

import pytest
import tensorflow as tf

from models.in_graphs import graph_function, loops_in_graph


class Sums:
    @loops_in_graph
    def up_to(self, n):
        total = tf.constant(0)
        for i in tf.range(n):
            if i == 5:
                break
            total += i
        return total

    def refused(self, n):
        if n > 0:
            n += 1
        return n


def test_a_loop_over_a_tensor_is_one_of_the_graph_and_ends_where_it_breaks():
    compiled = graph_function(Sums().up_to, input_signature=[tf.TensorSpec([], tf.int32)])
    assert [int(compiled(n)) for n in (0, 3, 9)] == [0, 3, 10]
    assert 'StatelessWhile' in {op.type for op in compiled.get_concrete_function().graph.get_operations()}
    assert int(Sums().up_to(tf.constant(9))) == 10  # as it stands, too


def test_what_is_not_marked_is_not_rewritten():
    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
        graph_function(Sums().refused, input_signature=[tf.TensorSpec([], tf.int32)]).get_concrete_function()
