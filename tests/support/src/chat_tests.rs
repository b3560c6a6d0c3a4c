//! The tests that stages 10 and 11 have in common, by name.
//!
//! The same chat, built in two ways: whoever talks can't tell which of them it is. So each has to
//! pass all of these, under the same names; what is its own stands in its own file in `tests/`.

/// All tests that stages 10 and 11 have in common, for the program `$bin`. The file that asks for
/// them depends on `serial_test`.
#[macro_export]
macro_rules! chat_tests {
    ($bin:expr) => {
        $crate::tests! {
            // Lines.
            line_goes_to_everyone_but_its_sender => chat_habits::tells_everyone_else($bin);
            nobody_hears_an_echo => chat_habits::does_not_echo($bin);
            bytes_of_a_line_are_left_alone => chat_habits::leaves_bytes_alone($bin);
            empty_lines_are_passed_on => chat_habits::passes_empty_lines_on($bin);
            line_may_come_byte_by_byte => chat_habits::puts_lines_together($bin);
            long_lines_go_in_pieces => chat_habits::cuts_long_lines($bin);
            last_line_of_a_user_needs_no_newline => chat_habits::completes_the_last_line($bin);
            nc_is_a_client => chat_habits::talks_with_nc($bin);

            // Names.
            name_stands_before_every_line => chat_habits::puts_names_before_lines($bin);
            names_at_the_limits_are_taken => chat_habits::takes_names($bin);
            what_is_no_name_is_refused => chat_habits::refuses_names($bin);
            who_comes_and_goes_is_not_announced => chat_habits::announces_nobody($bin);

            // Seats.
            one_user_too_many_is_told => chat_habits::turns_away($bin);
            one_user_too_many_is_told_even_while_it_talks =>
                chat_habits::turns_away_who_talks($bin);
            seat_is_free_again_when_its_user_has_left => chat_habits::frees_seats($bin);
            there_are_as_many_seats_as_told => chat_habits::seats_as_many_as_told($bin);
            silent_users_stay => chat_habits::keeps_silent_users($bin);

            // Leaving.
            half_closed_user_is_heard_and_served_to_the_end =>
                chat_habits::serves_a_half_close($bin);
            what_came_before_a_hang_up_is_passed_on => chat_habits::hears_who_hung_up($bin);
            resets_harm_nobody => chat_habits::survives_resets($bin);
            user_who_leaves_with_much_unread_harms_nobody =>
                chat_crowds::survives_who_leaves_with_much_unread($bin);
            floods_that_vanish_harm_nobody => chat_crowds::survives_floods_that_vanish($bin);

            // Crowds.
            five_users_hear_all_lines_once_and_in_order =>
                chat_crowds::loses_nothing_in_a_crowd($bin, 5, 400);
            fifty_users_hear_all_lines_once_and_in_order =>
                chat_crowds::loses_nothing_in_a_crowd($bin, 50, 200);
            few_words_are_heard_in_a_flood => chat_crowds::hears_everybody_in_a_flood($bin);

            // Users who don't read.
            nobody_waits_for_users_who_do_not_read => chat_crowds::does_not_wait_for_the_deaf($bin);
            nobody_waits_for_a_user_who_reads_a_trickle =>
                chat_crowds::is_not_slowed_down_by_a_trickle($bin);
            slow_user_is_told_after_a_whole_line => chat_crowds::tells_the_slow($bin);
            deaf_user_is_dropped_and_its_seat_is_free => chat_crowds::drops_the_deaf($bin);
            user_who_takes_nothing_for_the_stall_timeout_is_dropped =>
                chat_crowds::drops_who_stalls($bin);
            memory_is_bounded => chat_crowds::memory_is_bounded($bin);

            // What it costs, and what is left behind.
            server_sleeps_when_nobody_talks => chat_habits::sleeps_when_nobody_talks($bin);
            server_sleeps_while_something_waits_for_a_user =>
                chat_habits::sleeps_while_a_queue_waits($bin);
            three_hundred_users_leave_nothing_behind => chat_habits::leaves_nothing_behind($bin);
            lack_of_descriptors_harms_nobody => chat_habits::bears_a_lack_of_descriptors($bin);
            descriptors_are_close_on_exec => chat_habits::closes_on_exec($bin);
            killed_server_leaves_nobody =>
                chat_habits::leaves_nobody($bin, $crate::server::Signal::SIGKILL);
            interrupted_server_leaves_nobody =>
                chat_habits::leaves_nobody($bin, $crate::server::Signal::SIGINT);

            // The client.
            join_talks => join_habits::talks($bin);
            join_without_a_name_is_anonymous => join_habits::is_anonymous_without_a_name($bin);
            join_introduces_itself => join_habits::introduces_itself($bin);
            join_prints_what_comes_after_ctrl_d => join_habits::prints_what_comes_after_ctrl_d($bin);
            join_says_that_the_server_closed => join_habits::says_that_the_server_closed($bin);
            join_survives_a_server_that_leaves_while_it_talks =>
                join_habits::survives_a_server_that_leaves_in_a_flood($bin);
            join_says_that_there_is_no_seat => join_habits::says_that_there_is_no_seat($bin);
            join_takes_any_standard_input => join_habits::takes_any_standard_input($bin);
            join_takes_a_terminal => join_habits::takes_a_terminal($bin);
            join_shows_no_control_characters => join_habits::shows_no_control_characters($bin);
            join_splices_what_is_typed => join_habits::splices_what_is_typed($bin);
            join_copies_what_can_not_be_spliced =>
                join_habits::copies_what_can_not_be_spliced($bin);
            join_listens_while_the_server_takes_nothing =>
                join_habits::listens_while_the_server_takes_nothing($bin);
            join_sleeps_while_nothing_happens => join_habits::sleeps($bin);
            join_without_a_server_is_a_clear_error =>
                join_habits::reports_a_server_that_is_not_there($bin);

            // The command line.
            first_line_says_for_how_many_users => chat_habits::says_for_how_many($bin);
            nonsense_on_the_command_line_is_refused => chat_habits::refuses_nonsense($bin);
            port_in_use_is_a_clear_error => chat_habits::reports_port_in_use($bin);
            unknown_host_is_a_clear_error => habits::reports_unknown_host($bin);
            server_listens_on_ipv6 => chat_habits::listens_on_ipv6($bin);
            server_restarts_on_its_port_at_once => chat_habits::restarts_on_its_port($bin);
            quiet_server_says_nothing => chat_habits::says_nothing_when_quiet($bin);
            server_says_what_to_type_and_help_teaches => chat_habits::tells_people($bin);
            demo_succeeds_and_leaves_nobody => habits::demo_succeeds($bin);
        }

        #[test]
        #[::serial_test::serial]
        fn defaults_are_those_of_the_notes() {
            $crate::chat_habits::defaults_are_those_of_the_notes($bin);
        }
    };
}
