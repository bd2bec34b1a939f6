package service

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// What outlives a lock's call is one of the goroutines that Close waits for.
func TestTheServiceWaitsForWhatItsLocksHaveBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{}
		answer, waited := make(chan struct{}), make(chan struct{})
		ticket := s.ticket([]byte("name"), 7, nil)
		require.NotNil(t, ticket.Go)
		ticket.Go(func() { <-answer })
		go func() {
			s.waits.Wait()
			close(waited)
		}()
		synctest.Wait()
		select {
		case <-waited:
			t.Fatal("it is not waited for")
		default:
		}
		close(answer)
		<-waited
	})
}
